"""Training in 8-bit floating point through NVIDIA's Transformer Engine, whose layers keep scales of earlier steps."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from typing import Any, Final

import torch
from torch import nn

from lt_interfaces import PrecisionDtypes
from lt_interfaces.errors import MisconfigurationException
from lt_precision.casting import cast_floats, default_dtype
from lt_precision.engines import engine, require_engine
from lt_precision.linear_layers import ModuleFilter, linear_layers, refuse_sizes, replaced
from lt_precision.unscaled import UnscaledPrecision

_WEIGHTS: Final = {"transformer-engine": torch.bfloat16, "transformer-engine-float16": torch.float16}
_NAMES: Final = {dtype: name for name, dtype in _WEIGHTS.items()} | {torch.float32: "fp8-mixed"}
_MULTIPLE: Final = 16  # of both sizes of a layer: each is the last of some operand, which the engine wants so
_WAY_OUT: Final = (
    "pass `plugins=TransformerEnginePrecision(weights_dtype={dtype}, replace_layers=lambda module, name: name not in"
    " {{names}})`."
)


def transformer_engine_precision(precision: str, device: torch.device | None = None) -> "TransformerEnginePrecision":
    """Return `TransformerEnginePrecision` by name; this is what the names' entry points call.

    Args:
        precision: ``"transformer-engine"`` (weights in bfloat16) or ``"transformer-engine-float16"``.
        device: where it computes, a CUDA device.

    Raises:
        MissingPackageError: the engine isn't installed.
        MisconfigurationException: for another device.
        ValueError: for another name.
    """
    if precision not in _WEIGHTS:
        message = f"`precision` must be one of {list(_WEIGHTS)} for TransformerEnginePrecision, not {precision!r}."
        raise ValueError(message)
    require_engine("transformer_engine", f"`precision={precision!r}`")
    if device is not None and device.type != "cuda":
        message = (
            f"`precision={precision!r}` runs on CUDA devices, not on {device.type!r}. Use `precision='float8'` there,"
            " which is the same on torchao, or `'bf16-mixed'`."
        )
        raise MisconfigurationException(message)
    return TransformerEnginePrecision(_WEIGHTS[precision])


class TransformerEnginePrecision(UnscaledPrecision):
    """Layers of NVIDIA's Transformer Engine, which multiply in 8 bits; the rest in one format, or mixed.

    Linear layers and layer norms are replaced by the engine's, with the same weights. Everything runs in the engine's
    ``autocast`` (https://docs.nvidia.com/deeplearning/transformer-engine/user-guide/), which finds scales by a recipe.
    By the default recipe of some devices these come from earlier steps: they're stored with the module's weights, under
    ``_extra_state``. It needs a CUDA device of compute capability 8.9 or higher, and isn't sharded: that state would
    have to be, too. The engine pickles it, and unpickles it itself as it's loaded, so that only checkpoints should be
    loaded that come from where one trusts. The number of rows in a batch must be a multiple of 8.

    Args:
        weights_dtype: the format of weights, inputs and of everything else: bfloat16, float16 or float32.
        recipe: one of ``transformer_engine.common.recipe``, or the arguments of its ``DelayedScaling`` by name, where
            ``fp8_format`` may be a string such as ``"HYBRID"``; the engine's own choice for the device unless given.
        replace_layers: whether to replace layers: ``True``; ``False`` where the module has the engine's layers already;
            or ``(module, full_name) -> bool``, asked for each. ``None`` replaces all unless there are some already.
        fallback_compute_dtype: the format in which everything but the engine's layers computes, by torch's autocast;
            `weights_dtype` unless given.

    Raises:
        MissingPackageError: the engine isn't installed.
        MisconfigurationException: from `convert_module`, for linear layers whose sizes aren't multiples of 16.

    Example::

        precision = TransformerEnginePrecision(torch.bfloat16, recipe={"fp8_format": "HYBRID", "amax_history_len": 16})
        trainer = Trainer(accelerator="cuda", plugins=precision)
    """

    def __init__(
        self,
        weights_dtype: torch.dtype,
        recipe: Mapping[str, Any] | Any | None = None,
        replace_layers: bool | ModuleFilter | None = None,
        fallback_compute_dtype: torch.dtype | None = None,
    ) -> None:
        if weights_dtype not in _NAMES:
            message = (
                f"`weights_dtype` must be one of {list(_NAMES)} for TransformerEnginePrecision, not {weights_dtype}."
            )
            raise ValueError(message)
        require_engine("transformer_engine", "`TransformerEnginePrecision`")
        self._weights_dtype = weights_dtype
        self._recipe = recipe
        self._replace_layers = replace_layers
        self._fallback = fallback_compute_dtype or weights_dtype

    @property
    def precision(self) -> str:
        return _NAMES[self._weights_dtype]

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(param=self._weights_dtype, compute=self._weights_dtype, is_shardable=False)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module with the engine's layers in it, and all weights in `weights_dtype`."""
        linear, norms = layers_to_replace(module, self._replace_layers)
        refuse_sizes(
            linear,
            multiple=_MULTIPLE,
            what="`TransformerEnginePrecision`",
            way_out=_WAY_OUT.format(dtype=self._weights_dtype),
        )
        chosen: list[tuple[str, nn.Linear | nn.LayerNorm]] = [*linear, *norms]
        return replaced(module, ((name, self._replacement(layer)) for name, layer in chosen)).to(self._weights_dtype)

    def convert_input(self, data: Any) -> Any:
        return cast_floats(data, self._weights_dtype)

    def forward_context(self) -> AbstractContextManager[Any]:
        pytorch = engine("transformer_engine.pytorch")
        return _computing(pytorch, self._made_recipe, weights_dtype=self._weights_dtype, fallback=self._fallback)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self._weights_dtype)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self._weights_dtype)

    def _replacement(self, layer: nn.Linear | nn.LayerNorm) -> nn.Module:
        """Return the engine's layer in place of torch's, with the same weights; it's made on the CUDA device."""
        pytorch = engine("transformer_engine.pytorch")
        new: nn.Module
        if isinstance(layer, nn.Linear):
            shape = (layer.in_features, layer.out_features)
            new = pytorch.Linear(*shape, bias=layer.bias is not None, params_dtype=self._weights_dtype)
        else:
            new = pytorch.LayerNorm(layer.normalized_shape[0], eps=layer.eps, params_dtype=self._weights_dtype)
        for name, parameter in layer.named_parameters():
            own = new.get_parameter(name)
            own.detach().copy_(parameter.detach())
            own.requires_grad_(parameter.requires_grad)
        new.register_load_state_dict_pre_hook(_load_without_scales)  # type: ignore[no-untyped-call]
        return new

    @cached_property
    def _made_recipe(self) -> Any:
        """Return the recipe as the engine takes it."""
        if not isinstance(self._recipe, Mapping):
            return self._recipe
        recipes = engine("transformer_engine.common.recipe")
        arguments = dict(self._recipe)
        if isinstance(arguments.get("fp8_format"), str):
            arguments["fp8_format"] = recipes.Format[arguments["fp8_format"]]
        return recipes.DelayedScaling(**arguments)


def layers_to_replace(
    module: nn.Module, replace_layers: bool | ModuleFilter | None
) -> tuple[list[tuple[str, nn.Linear]], list[tuple[str, nn.LayerNorm]]]:
    """Return the linear layers and the layer norms that the engine's are to replace, with their full names.

    >>> model = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.LayerNorm((2, 16)))
    >>> [[name for name, _ in layers] for layers in layers_to_replace(model, None)]
    [['1'], ['0']]
    """
    has_own = any(type(part).__module__.startswith("transformer_engine.") for part in module.modules())
    if replace_layers is False or (replace_layers is None and has_own):
        return [], []
    wanted = replace_layers if callable(replace_layers) else _all
    linear = [(name, layer) for name, layer in linear_layers(module) if wanted(layer, name)]
    norms = [
        (name, layer)
        for name, layer in module.named_modules()
        if type(layer) is nn.LayerNorm and _has_counterpart(layer) and wanted(layer, name)
    ]
    return linear, norms


def _all(module: nn.Module, name: str) -> bool:
    return True


def _has_counterpart(layer: nn.LayerNorm) -> bool:
    """Say whether the engine has such a layer norm: over one dimension, with weight and bias."""
    return len(layer.normalized_shape) == 1 and layer.weight is not None and layer.bias is not None


@contextmanager
def _computing(pytorch: Any, recipe: Any, *, weights_dtype: torch.dtype, fallback: torch.dtype) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(default_dtype(weights_dtype))
        if fallback is not torch.float32:  # torch has no autocast to 32 bits
            stack.enter_context(torch.autocast("cuda", fallback))
        if hasattr(pytorch, "autocast"):
            stack.enter_context(pytorch.autocast(enabled=True, recipe=recipe))
        else:  # the name it had in the engine's first releases
            stack.enter_context(pytorch.fp8_autocast(enabled=True, fp8_recipe=recipe))
        yield


def _load_without_scales(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let weights of a module without the engine load: its layers take ``None`` for scales that there are none of."""
    state.setdefault(f"{prefix}_extra_state", None)
