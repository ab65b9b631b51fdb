"""Giving memory to modules that were made on the meta device, one unit at a time."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def fill_from_meta(modules: Iterable[nn.Module], device: torch.device, *, initialise: bool) -> None:
    """Give the parameters and buffers of modules on the meta device memory, and their first values.

    Each module of those that has own parameters or buffers on meta fills them by its ``reset_parameters``, as torch's
    layers do; on all ranks with the same random numbers, whoever calls this sees to that.

    Args:
        modules: those of one unit; their children aren't visited.
        device: where to.
        initialise: ``False`` leaves the values open, as a checkpoint will bring them.

    Raises:
        RuntimeError: a module can't fill what it has, since it has no ``reset_parameters``.
    """
    for module in modules:
        empty = [name for name, tensor in _own_tensors(module) if tensor.is_meta]
        if not empty:
            continue
        reset = getattr(module, "reset_parameters", None)
        buffers = [name for name in empty if name not in module._parameters]
        if reset is None and (initialise or not set(buffers) <= _saved_buffers(module)):
            _refuse(module, empty)
        module.to_empty(device=device, recurse=False)
        if reset is not None and (initialise or buffers):
            reset()


def is_on_meta(module: nn.Module) -> bool:
    """Say whether any parameter or buffer of a module, or of a module in it, has no memory yet."""
    return any(tensor.is_meta for one in module.modules() for _, tensor in _own_tensors(one))


def _own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    own = {**module._parameters, **module._buffers}
    return [(name, tensor) for name, tensor in own.items() if tensor is not None]


def _saved_buffers(module: nn.Module) -> set[str]:
    return set(module._buffers) - module._non_persistent_buffers_set


def _refuse(module: nn.Module, empty: list[str]) -> None:
    kind = type(module).__name__
    message = (
        f"{kind} was made on the meta device and has no `reset_parameters`, so nothing fills its {', '.join(empty)}. "
        f"Give {kind} a method `reset_parameters()` that sets them, or make it elsewhere than in `configure_model` and"
        " `init_module()`."
    )
    raise RuntimeError(message)
