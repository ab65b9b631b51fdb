"""Inference with quantised weights through torchao: linear layers keep integers, and compute in the module's format."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from lt_interfaces import PrecisionDtypes
from lt_interfaces.errors import MisconfigurationException
from lt_precision.casting import cast_floats, default_dtype
from lt_precision.engines import engine, require_engine
from lt_precision.linear_layers import ModuleFilter, untied_linear_layers
from lt_precision.unscaled import UnscaledPrecision

_NAMES: Final = ("int8-weight-only", "int4-weight-only")
_GROUP: Final = 128  # weights of a row that share a scale in 4 bits; rows must be cut into whole groups


class WeightOnlyPrecision(UnscaledPrecision):
    """Weights of linear layers in 8 or 4 bits, for validating, testing and predicting; training is refused.

    What's loaded into a converted module is quantised as it comes, so a checkpoint of the plain module gives the same
    predictions as quantising after loading. The converted module's own weights load too, where torchao was imported
    (here, as a module is converted). Quantising is torchao's (https://docs.pytorch.org/ao/stable/, "quantized
    inference").

    Args:
        precision: ``"int8-weight-only"``, one scale for each row of a weight, on every device; the rest of the module
            stays in its format. ``"int4-weight-only"``, one scale for 128 weights of a row, on CUDA devices; the rest
            of the module becomes bfloat16, and rows that aren't multiples of 128 stay as they are.
        device: where it runs; 4 bits are made there, and not on CPUs.
        module_filter: ``(module, full_name) -> bool``, asked for each linear layer; ``True`` quantises it. All are
            quantised unless given, except layers that share their weight with another one.

    Raises:
        MissingPackageError: torchao isn't installed, or, for 4 bits, mslk.
        MisconfigurationException: 4 bits on another device than a CUDA one; and from `backward`.

    >>> precision = WeightOnlyPrecision("int8-weight-only")
    >>> model = precision.convert_module(nn.Linear(64, 64, bias=False))
    >>> model.weight.qdata.dtype, model(torch.ones(1, 64)).dtype
    (torch.int8, torch.float32)
    """

    def __init__(
        self,
        precision: str = "int8-weight-only",
        device: torch.device | None = None,
        *,
        module_filter: ModuleFilter | None = None,
    ) -> None:
        if precision not in _NAMES:
            message = f"`precision` must be one of {list(_NAMES)} for WeightOnlyPrecision, not {precision!r}."
            raise ValueError(message)
        for name in ("torchao", "mslk") if precision == "int4-weight-only" else ("torchao",):
            require_engine(name, f"`precision={precision!r}`")
        self._precision = precision
        self._dtype: torch.dtype | None = None
        self._device: torch.device | None = None
        if precision == "int4-weight-only":
            self._dtype, self._device = torch.bfloat16, _cuda(device)
        self._module_filter = module_filter

    @property
    def precision(self) -> str:
        return self._precision

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(compute=self._dtype, is_shardable=False, is_trainable=False)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module with quantised weights, which are frozen."""
        if self._dtype is not None:
            module = module.to(self._dtype)
        quantise = self._quantise
        for _, layer in list(self._chosen(module)):
            layer.weight = nn.Parameter(quantise(layer.weight.detach()), requires_grad=False)
            layer.register_load_state_dict_pre_hook(partial(_quantise_what_comes, quantise=quantise))  # type: ignore[no-untyped-call]
        return module

    def convert_input(self, data: Any) -> Any:
        return data if self._dtype is None else cast_floats(data, self._dtype)

    def forward_context(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._dtype is None else default_dtype(self._dtype)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return self.forward_context()

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return self.forward_context()

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Refuse to train: the weights are integers.

        Raises:
            MisconfigurationException: always.
        """
        message = (
            f"`precision={self._precision!r}` is for validating, testing and predicting: weights of linear layers are"
            " integers, which can't be trained. To train other parameters with frozen quantised weights use"
            " `precision='nf4'` or `'int8'`, to train all of them `'bf16-mixed'` or `'int8-training'`."
        )
        raise MisconfigurationException(message)

    def _chosen(self, module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
        wanted = self._module_filter
        for name, layer in untied_linear_layers(module):
            is_whole = self._dtype is None or layer.in_features % _GROUP == 0
            if not _is_quantised(layer.weight) and is_whole and (wanted is None or wanted(layer, name)):
                yield name, layer

    def _quantise(self, weight: Tensor) -> Tensor:
        """Return a weight as torchao's quantised tensor of the same shape."""
        quantization = engine("torchao.quantization")
        config = (
            quantization.Int8WeightOnlyConfig()
            if self._dtype is None
            else quantization.Int4WeightOnlyConfig(group_size=_GROUP)
        )
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight.to(self._device, self._dtype), requires_grad=False)
        quantization.quantize_(layer, config)
        return layer.weight.detach()


def _cuda(device: torch.device | None) -> torch.device:
    """Return the device on which 4 bits are packed, which no kernel does on a CPU."""
    if device is not None and device.type != "cuda":
        message = (
            f"`precision='int4-weight-only'` runs on CUDA devices, not on {device.type!r}. Use"
            " `precision='int8-weight-only'` or `'nf4'` there."
        )
        raise MisconfigurationException(message)
    return device or torch.device("cuda")


def _quantise_what_comes(
    layer: nn.Module, state: dict[str, Any], *prefix_and_more: Any, quantise: Callable[[Tensor], Tensor]
) -> None:
    """Quantise a plain weight that is about to be loaded; one of another shape is left for torch to refuse."""
    prefix = prefix_and_more[0]
    key = f"{prefix}weight"
    weight = state.get(key)
    if weight is not None and not _is_quantised(weight) and weight.shape == layer.weight.shape:
        state[key] = quantise(weight.to(layer.weight.device))


def _is_quantised(weight: Tensor) -> bool:
    """Say whether a weight is a tensor of torchao's; its module is asked for, since there are many classes."""
    return type(weight).__module__.startswith("torchao.")
