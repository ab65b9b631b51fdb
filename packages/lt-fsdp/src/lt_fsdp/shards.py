"""The state of sharded tensors: whole on one rank, as shards on each, and back from either."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.optim import Optimizer

from lt_interfaces.checkpoint_io import Place, Placement
from lt_interfaces.module_state import load_state_dict_clearly
from lt_interfaces.portable_state import optimizer_state_from_names


def whole_on_rank_zero(state: Any, *, is_rank_zero: bool) -> Any:
    """Return a state whose tensors are whole and on the CPU; empty on all other ranks. Collective.

    One tensor after the other is gathered, so that besides what rank 0 keeps no rank holds more than one of them.

    Args:
        state: nested dicts and lists, in the same order on every rank.
        is_rank_zero: whether this rank keeps them.
    """
    if isinstance(state, Mapping):
        whole = {key: whole_on_rank_zero(value, is_rank_zero=is_rank_zero) for key, value in state.items()}
        return whole if is_rank_zero else {}
    if isinstance(state, list | tuple):
        return [whole_on_rank_zero(value, is_rank_zero=is_rank_zero) for value in state]
    if not isinstance(state, Tensor):
        return state
    tensor = state.full_tensor() if isinstance(state, DTensor) else state
    return tensor.detach().cpu() if is_rank_zero else None


def load_module(module: nn.Module, state: Mapping[str, Any], *, strict: bool) -> Any:
    """Load a state dict, of which each rank takes its part; returns torch's incompatible keys.

    Args:
        module: sharded.
        state: tensors that are the module's own already, sharded as these, or whole.
        strict: whether keys must match.

    Raises:
        RuntimeError: keys or shapes don't match.
    """
    own = module.state_dict()
    taken = dict(state)
    for name, value in state.items():
        target = own.get(name)
        if isinstance(target, DTensor) and isinstance(value, Tensor) and value.shape == target.shape:
            fill(target, value)
            taken[name] = target
    return load_state_dict_clearly(module, taken, strict=strict)


def load_optimizer(module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state, by number or by full name, of which each rank takes its part."""
    if any(isinstance(name, str) for group in state["param_groups"] for name in group["params"]):
        state = optimizer_state_from_names(module, optimizer, state)
    parameters = _numbered(optimizer, state["param_groups"])
    sharded = {number: like_its_parameter(own, parameters.get(number)) for number, own in state["state"].items()}
    optimizer.load_state_dict({**state, "state": sharded})


def module_placement(module: nn.Module) -> Placement:
    """Return where the weights of a module's state are to be read to: into its own shards."""
    own = module.state_dict()

    def placement(place: Place, like: Tensor) -> Tensor | None:
        target = own.get(place[0]) if len(place) == 1 else None
        return target if isinstance(target, DTensor) and target.shape == like.shape else None

    return placement


def optimizer_placement(optimizer: Optimizer) -> Placement:
    """Return where an optimizer's state is to be read to: into new shards, like those of the parameters."""
    numbered = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))

    def placement(place: Place, like: Tensor) -> Tensor | None:
        parameter = numbered.get(place[1]) if len(place) == 3 and place[0] == "state" else None
        if not isinstance(parameter, DTensor) or parameter.shape != like.shape:
            return None
        return torch.empty_like(parameter.detach(), dtype=like.dtype)

    return placement


@torch.no_grad()
def fill(target: DTensor, value: Tensor) -> None:
    """Copy a tensor into a sharded one: this rank's part of it, if it's whole. No collective.

    Args:
        target: of any layout without partial sums.
        value: whole, or sharded like the target, or the target itself.
    """
    if isinstance(value, DTensor):
        if value.to_local().data_ptr() != target.to_local().data_ptr():
            target.copy_(value)
        return
    shape, offset = compute_local_shape_and_global_offset(target.shape, target.device_mesh, target.placements)
    part = value[tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))]
    target.to_local().copy_(part)


def like_its_parameter(state: Mapping[str, Any], parameter: Tensor | None) -> dict[str, Any]:
    """Return the state of one parameter with its tensors sharded like the parameter."""
    if not isinstance(parameter, DTensor):
        return dict(state)
    return {key: _sharded(value, parameter) if _is_whole(value, parameter) else value for key, value in state.items()}


def _is_whole(value: Any, parameter: DTensor) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, DTensor) and value.shape == parameter.shape


def _sharded(value: Tensor, parameter: DTensor) -> DTensor:
    shard: Any = torch.empty_like(parameter.detach(), dtype=value.dtype)
    fill(shard, value)
    sharded: DTensor = shard
    return sharded


def _numbered(optimizer: Optimizer, saved: Iterable[Mapping[str, Any]]) -> dict[Any, Tensor]:
    """Map the numbers of a saved state to the parameters that they stand for here."""
    return {
        number: parameter
        for own, group in zip(optimizer.param_groups, saved, strict=False)  # torch refuses groups that don't match
        for parameter, number in zip(own["params"], group["params"], strict=False)
    }
