"""The state and the gradients of a pipeline, of which each rank has those of its stage."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from lt_interfaces import clipping
from lt_interfaces.module_state import load_state_dict_clearly
from lt_interfaces.portable_state import optimizer_state_from_names


def module_state(module: nn.Module, *, is_rank_zero: bool) -> dict[str, Any]:
    """Return the weights of all stages on rank 0, and nothing on other ranks. Collective."""
    own = module.state_dict()
    everything = _gathered({name: one for name, one in own.items() if not one.is_meta})
    return {name: everything[name] for name in own} if is_rank_zero else {}


def optimizer_state(optimizer: Optimizer, *, is_rank_zero: bool) -> dict[str, Any]:
    """Return the optimizer's state of all stages, by number, on rank 0, and nothing on other ranks. Collective."""
    own = optimizer.state_dict()
    everything = _gathered(own["state"])
    ordered = {number: everything[number] for number in sorted(everything)}
    return {**own, "state": ordered} if is_rank_zero else {}


def load_module_state(module: nn.Module, state: Mapping[str, Any], *, strict: bool) -> Any:
    """Load whole weights, of which each rank takes those of its stage; returns torch's incompatible keys."""
    own = module.state_dict()
    elsewhere = {name: own[name] for name in state if name in own and own[name].is_meta}
    return load_state_dict_clearly(module, {**state, **elsewhere}, strict=strict)


def load_optimizer_state(module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load the optimizer's whole state, by number or by full name, of which each rank takes that of its stage."""
    if any(isinstance(name, str) for group in state["param_groups"] for name in group["params"]):
        state = optimizer_state_from_names(module, optimizer, state)
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    # torch says what's wrong where these aren't as many
    own = {number for number, one in zip(numbers, parameters, strict=False) if not one.is_meta}
    kept = {number: one for number, one in state["state"].items() if number in own}
    optimizer.load_state_dict({**state, "state": kept})


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[Tensor],
    *,
    device: torch.device,
    max_norm: float | None,
    clip_value: float | None,
    norm_type: float,
    error_if_nonfinite: bool,
) -> Tensor | None:
    """Clip the gradients of all stages by their norm as one vector, or by value, as `Strategy.clip_gradients` says."""
    own = [one for one in parameters if one.grad is not None]
    if max_norm is None:
        return clipping.clip_gradients(own, clip_value=clip_value)
    norm = get_total_norm([one.grad for one in own if one.grad is not None], norm_type).to(device)
    if norm_type == float("inf"):
        dist.all_reduce(norm, dist.ReduceOp.MAX)
    else:
        norm = norm**norm_type
        dist.all_reduce(norm)
        norm = norm ** (1 / norm_type)
    if error_if_nonfinite and not torch.isfinite(norm):
        message = (
            f"The norm of the gradients is {norm.item()}, so they can't be clipped. Pass `error_if_nonfinite=False` to"
            " scale them all the same."
        )
        raise RuntimeError(message)
    if max_norm != inf:
        clip_grads_with_norm_(own, max_norm, norm)
    return norm


def _gathered(own: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the entries of all ranks on rank 0, on the CPU; empty on other ranks."""
    on_cpu = {key: _on_cpu(value) for key, value in own.items()}
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(on_cpu, found)
    return {key: value for one in found or () for key, value in one.items()}


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _on_cpu(one) for key, one in value.items()}
    return value.detach().cpu() if isinstance(value, Tensor) else value
