"""Giving memory to modules that were made on the meta device, one unit at a time."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lt_fsdp.shards import fill

_LOST: Final = "copying from a non-meta parameter in the checkpoint to a meta parameter"
"""What torch says of it."""


@contextmanager
def made_on_meta() -> Iterator[None]:
    """Create modules on the meta device, and refuse to load weights into them, which torch would leave out.

    Raises:
        UserWarning: torch's, as an error, with what to do instead.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{_LOST}")
        try:
            yield
        except UserWarning as lost:
            if _LOST in str(lost):
                lost.add_note(
                    "What's made here stands on the meta device, without memory. Pass `assign=True` to"
                    " `load_state_dict` to give it these weights, or make the module in `__init__`."
                )
            raise


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
        if not _empty(module):
            continue
        reset = _reset_of(module, initialise=initialise)
        module.to_empty(device=device, recurse=False)
        if reset is not None:
            _reset(module, reset)


def _reset_of(module: nn.Module, *, initialise: bool) -> Callable[[], Any] | None:
    """Return what is to fill a module on the meta device; ``None`` where values stay open."""
    reset = getattr(module, "reset_parameters", None)
    buffers = [name for name in _empty(module) if name not in module._parameters]
    if reset is None and (initialise or not set(buffers) <= _saved_buffers(module)):
        _refuse(module, _empty(module))
    return reset if initialise or buffers else None


@torch.no_grad()
def _reset(module: nn.Module, reset: Callable[[], Any]) -> None:
    """Fill what a module has with first values; of parameters in parts those parts that this rank has.

    Parts are cut from a whole one, so that a parameter's values don't depend on how it's divided.
    """
    divided: dict[str, Any] = {name: one for name, one in module._parameters.items() if isinstance(one, DTensor)}
    for name, part in divided.items():
        whole = torch.empty(part.shape, dtype=part.dtype, device=part.to_local().device)
        module._parameters[name] = nn.Parameter(whole, requires_grad=part.requires_grad)
    try:
        reset()
        for name, part in divided.items():
            filled = module._parameters[name]
            assert filled is not None  # made above
            fill(part, filled.detach())
    finally:
        module._parameters.update(divided)


def fill_sharded_from_meta(top: nn.Module, device: torch.device, *, initialise: bool) -> None:
    """Give memory and first values to what a sharded module has on the meta device, as `fill_from_meta` does.

    Args:
        top: sharded by its owner while it was on the meta device.
        device: where to.
        initialise: as for `fill_from_meta`.
    """
    empty = [(one, _reset_of(one, initialise=initialise)) for one in top.modules() if _empty(one)]
    top.to_empty(device=device)  # tells the engine of the new shards
    for module, reset in empty:
        if reset is not None:
            _reset(module, reset)


def bring(module: nn.Module, device: torch.device) -> None:
    """Bring what a module has itself to a device; what it has beside parameters and buffers may still be on meta.

    Raises:
        RuntimeError: it's a metric object that was made on the meta device, where its first values are lost.
    """

    def there(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device)

    if "recurse" in signature(module._apply).parameters:
        module._apply(there, recurse=False)  # type: ignore[no-untyped-call]  # torch annotates public methods
        return
    state = getattr(module, "metric_state", {})
    lost = [name for name, value in state.items() if isinstance(value, Tensor) and value.is_meta]
    if lost:
        kind = type(module).__name__
        message = (
            f"The metric object {kind} was made on the meta device, where the first values of its {', '.join(lost)} are"
            f' lost. Make it in `__init__`, or as `with torch.device("cpu"): self.metric = {kind}(...)`.'
        )
        raise RuntimeError(message)
    module._apply(there)  # type: ignore[no-untyped-call]  # a metric object's own one moves its state, too


def is_on_meta(module: nn.Module) -> bool:
    """Say whether any parameter or buffer of a module, or of a module in it, has no memory yet."""
    return any(tensor.is_meta for one in module.modules() for _, tensor in _own_tensors(one))


def _empty(module: nn.Module) -> list[str]:
    return [name for name, tensor in _own_tensors(module) if tensor.is_meta]


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
