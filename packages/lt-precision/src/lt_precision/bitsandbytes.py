"""Quantised training and inference through bitsandbytes: linear layers in 4 or 8 bits, the rest in one plain format."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Final

import torch
from torch import nn

from lt_interfaces import PrecisionDtypes
from lt_interfaces.errors import PossibleUserWarning
from lt_interfaces.rank_zero import rank_zero_warn
from lt_precision.casting import cast_floats, default_dtype
from lt_precision.engines import require_engine
from lt_precision.linear_layers import linear_layers, replaced, untied_linear_layers
from lt_precision.unscaled import UnscaledPrecision

_MODES: Final = ("nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "int8-training")
_DTYPES: Final = (torch.float32, torch.bfloat16, torch.float16)


def bitsandbytes_precision(precision: str, device: torch.device | None = None) -> "BitsandbytesPrecision":
    """Return `BitsandbytesPrecision` by the name of its mode; this is what the names' entry points call.

    >>> bitsandbytes_precision("nf4", torch.device("cpu")).precision
    'nf4'
    """
    return BitsandbytesPrecision(precision, device=device)


class BitsandbytesPrecision(UnscaledPrecision):
    """Weights of linear layers in 4 or 8 bits; everything else is kept, and computed, in one plain format.

    Quantised weights are frozen: what trains are biases, other layers, and adapters beside them (as in QLoRA,
    https://arxiv.org/abs/2305.14314). Only ``"int8-training"`` trains all weights, which it keeps in the plain format
    and rounds for every product. Plain weights that are loaded into a converted module are quantised as they come; its
    own state loads bit for bit. It can't be sharded, and runs on CUDA devices and CPUs.

    Args:
        mode: ``"nf4"`` (4 bits, spaced as a normal distribution is), ``"fp4"`` (4-bit floating point), both with
            ``"-dq"`` when the scales are quantised too; ``"int8"`` (https://arxiv.org/abs/2208.07339) or
            ``"int8-training"``.
        dtype: the format of everything else and of the computation: on CUDA devices, unless given, bfloat16 (float16
            where there's none, and for 8 bits, whose kernels compute in it), on a CPU float32.
        ignore_modules: full names of modules whose linear layers stay as they are, with all that's inside of them, such
            as ``{"lm_head"}``. Layers that share their weight with another one stay in any case.
        device: where it runs; a CUDA device, if there's one, unless given.

    Raises:
        MissingPackageError: bitsandbytes isn't installed.

    >>> precision = BitsandbytesPrecision("nf4", ignore_modules={"2"}, device=torch.device("cpu"))
    >>> model = precision.convert_module(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)))
    >>> model[0].weight.nbytes, model[2].weight.nbytes
    (2048, 256)
    """

    def __init__(
        self,
        mode: str,
        dtype: torch.dtype | None = None,
        ignore_modules: Iterable[str] | None = None,
        *,
        device: torch.device | None = None,
    ) -> None:
        if mode not in _MODES:
            message = f"`mode` must be one of {list(_MODES)} for BitsandbytesPrecision, not {mode!r}."
            raise ValueError(message)
        if dtype is not None and dtype not in _DTYPES:
            message = f"`dtype` must be one of {list(_DTYPES)} for BitsandbytesPrecision, not {dtype}."
            raise ValueError(message)
        if isinstance(ignore_modules, str):
            message = f"`ignore_modules` must be a set of names, not a string: pass {{{ignore_modules!r}}}."
            raise TypeError(message)
        require_engine("bitsandbytes", f"`precision={mode!r}`")
        self._mode = mode
        self._given_dtype = dtype
        self._ignored = frozenset(ignore_modules or ())
        self._device = device

    @property
    def precision(self) -> str:
        return self._mode

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(is_shardable=False)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The format of all but the quantised weights; first asked for in the process that computes."""
        if self._given_dtype is not None:
            return self._given_dtype
        on_cuda = torch.cuda.is_available() if self._device is None else self._device.type == "cuda"
        if not on_cuda:
            return torch.float32
        in_4_bits = not self._mode.startswith("int8")
        return torch.bfloat16 if in_4_bits and torch.cuda.is_bf16_supported() else torch.float16

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module with its linear layers quantised and everything else in `dtype`."""
        self._warn_of_unknown_names(module)
        module = module.to(self.dtype)
        return replaced(module, ((name, self._quantised(layer)) for name, layer in list(self._chosen(module))))

    def convert_input(self, data: Any) -> Any:
        return cast_floats(data, self.dtype)

    def forward_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self.dtype)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self.dtype)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self.dtype)

    def _quantised(self, layer: nn.Linear) -> nn.Module:
        # An optional engine, which takes seconds to import.
        from lt_precision.bitsandbytes_layers import Linear4bit, Linear8bit, Linear8bitTraining

        if self._mode == "int8":
            return Linear8bit(layer, self.dtype)
        if self._mode == "int8-training":
            return Linear8bitTraining(layer, self.dtype)
        kind, _, scales = self._mode.partition("-")
        return Linear4bit(layer, self.dtype, kind=kind, nested=scales == "dq")

    def _chosen(self, module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
        # Weights that are trained may be shared: both layers train the same one.
        layers = linear_layers(module) if self._mode == "int8-training" else untied_linear_layers(module)
        return (
            (name, layer)
            for name, layer in layers
            if not any(name == ignored or name.startswith(f"{ignored}.") for ignored in self._ignored)
        )

    def _warn_of_unknown_names(self, module: nn.Module) -> None:
        unknown = self._ignored - {name for name, _ in module.named_modules()}
        if unknown:
            message = (
                f"`ignore_modules` names {sorted(unknown)}, which {type(module).__name__} doesn't have. Give the full"
                " names that `named_modules()` yields."
            )
            rank_zero_warn(message, category=PossibleUserWarning)
