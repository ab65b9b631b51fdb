"""What a module consists of: layers, sizes, parameters and operations."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.flop_counter import FlopCounterMode

from lt_interfaces.rank_zero import rank_zero_warn

UNKNOWN_SIZE: Final = "?"
NOT_AVAILABLE: Final = "n/a"
_BYTES_PER_MB: Final = 1e6


@dataclass(frozen=True)
class LayerSummary:
    """One row: a submodule, with everything inside of it."""

    name: str
    type: str
    num_parameters: int
    mode: str
    """``"train"`` or ``"eval"``."""
    flops: int = 0
    """Floating-point operations of one forward over the example input."""
    in_size: Any = UNKNOWN_SIZE
    """The shape of what it got, a list of shapes for several; ``"?"`` when it wasn't called or got something else."""
    out_size: Any = UNKNOWN_SIZE

    @property
    def layer_type(self) -> str:
        """The same as `type`, as Lightning calls it."""
        return self.type


@dataclass(frozen=True)
class ModuleSummary:
    """The rows of a module and its totals; `summarize` makes it."""

    layers: tuple[LayerSummary, ...]
    num_parameters: int
    num_trainable_parameters: int
    size_bytes: int
    """What all parameters take, in their own data types."""
    num_modules_in_train_mode: int
    num_modules_in_eval_mode: int
    total_flops: int
    num_other_parameters: int = 0
    """Parameters that no row counts: those of the module itself."""

    @property
    def size_megabytes(self) -> float:
        """`size_bytes` in units of 10^6."""
        return self.size_bytes / _BYTES_PER_MB

    @property
    def has_sizes(self) -> bool:
        """Whether an example input told the sizes."""
        return any(layer.out_size != UNKNOWN_SIZE for layer in self.layers)


@dataclass
class _Observed:
    """What one forward over the example input has shown."""

    sizes: dict[str, tuple[Any, Any]]
    flops: Mapping[str, int]


def summarize(module: nn.Module, max_depth: int = 1) -> ModuleSummary:
    """Return what a module consists of.

    Where it has an ``example_input_array``, one forward in evaluation mode without gradients tells sizes and
    operations; modes and random numbers are afterwards as before.

    Args:
        module: any torch module.
        max_depth: levels of submodules that get a row; 0: none, -1: all.

    Raises:
        ValueError: for a ``max_depth`` below -1.

    >>> summary = summarize(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
    >>> [(layer.type, layer.num_parameters) for layer in summary.layers], summary.num_parameters
    ([('Linear', 40), ('ReLU', 0)], 40)
    """
    if not isinstance(max_depth, int) or isinstance(max_depth, bool) or max_depth < -1:
        message = f"`max_depth` must be 0 (no layers), -1 (all) or a number of levels, not {max_depth!r}."
        raise ValueError(message)
    rows = {
        name: layer for name, layer in module.named_modules() if name and (max_depth == -1 or _depth(name) <= max_depth)
    }
    example = getattr(module, "example_input_array", None)
    seen = _Observed({}, {}) if example is None else _observe(module, rows, example)
    parameters = list(module.parameters())
    counted = {id(parameter) for layer in rows.values() for parameter in layer.parameters()}
    if any(isinstance(parameter, UninitializedParameter) for parameter in parameters):
        rank_zero_warn("The summary counts lazily initialized parameters as 0: their number isn't known yet.")
    return ModuleSummary(
        layers=tuple(_row(name, layer, seen) for name, layer in rows.items()),
        num_parameters=sum(map(_count, parameters)),
        num_trainable_parameters=sum(_count(parameter) for parameter in parameters if parameter.requires_grad),
        size_bytes=sum(_count(parameter) * parameter.element_size() for parameter in parameters if _count(parameter)),
        num_modules_in_train_mode=sum(part.training for part in module.modules()),
        num_modules_in_eval_mode=sum(not part.training for part in module.modules()),
        total_flops=seen.flops.get("Global", 0),
        num_other_parameters=sum(_count(parameter) for parameter in parameters if id(parameter) not in counted),
    )


def _depth(name: str) -> int:
    return name.count(".") + 1


def _count(parameter: Tensor) -> int:
    return 0 if isinstance(parameter, UninitializedParameter) else parameter.numel()


def _row(name: str, layer: nn.Module, seen: _Observed) -> LayerSummary:
    in_size, out_size = seen.sizes.get(name, (UNKNOWN_SIZE, UNKNOWN_SIZE))
    return LayerSummary(
        name=name,
        type=type(layer).__name__,
        num_parameters=sum(map(_count, layer.parameters())),
        mode="train" if layer.training else "eval",
        flops=seen.flops.get(name, 0),
        in_size=in_size,
        out_size=out_size,
    )


def _observe(module: nn.Module, rows: Mapping[str, nn.Module], example: Any) -> _Observed:
    """Run the example input through the module and write down what every layer got, returned and computed."""
    seen = _Observed({}, {})
    counter = FlopCounterMode(display=False)

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            got = inputs[0] if len(inputs) == 1 else inputs
            seen.sizes.setdefault(name, (shape_of(got), shape_of(output)))

        return hook

    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    accelerators = [device] if device.type == "cuda" else []
    handles = [layer.register_forward_hook(note(name)) for name, layer in rows.items()]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=accelerators), _evaluating(module), counter:
            _call(module, _to(example, device))
    finally:
        for handle in handles:
            handle.remove()
    root = f"{type(module).__name__}."
    counts = counter.get_flop_counts()
    seen.flops = {name.removeprefix(root): sum(operations.values()) for name, operations in counts.items()}
    return seen


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch the module to evaluation mode, and every part back to its own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _call(module: nn.Module, example: Any) -> None:
    if isinstance(example, Mapping):
        module(**example)
    elif isinstance(example, tuple):
        module(*example)
    else:
        module(example)


def _to(example: Any, device: torch.device) -> Any:
    if isinstance(example, Tensor):
        return example.to(device)
    if isinstance(example, Mapping):
        return {name: _to(value, device) for name, value in example.items()}
    if isinstance(example, list | tuple):
        return type(example)(_to(value, device) for value in example)
    return example


def shape_of(value: Any) -> Any:
    """Return the shape of a tensor, a list of shapes for a list or tuple, ``"?"`` for anything else.

    >>> shape_of((torch.zeros(2, 3), None))
    [[2, 3], '?']
    """
    if isinstance(value, Tensor):
        return list(value.shape)
    if isinstance(value, list | tuple):
        return [shape_of(part) for part in value]
    return UNKNOWN_SIZE
