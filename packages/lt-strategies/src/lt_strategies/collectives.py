"""Collectives over a process group, as the Strategy contract words them."""

from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

_OPS: Final = {
    "mean": dist.ReduceOp.SUM,
    "avg": dist.ReduceOp.SUM,
    "sum": dist.ReduceOp.SUM,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
}


def reduce(tensor: Tensor, *, op: str, group: Any = None) -> Tensor:
    """Return the tensor reduced over the ranks of a group; the given one stays as it is.

    A mean of whole numbers is a floating-point number.

    Raises:
        ValueError: for an unknown ``op``.
    """
    if op.lower() not in _OPS:
        message = f"`op={op!r}` isn't a reduction; choose one of {', '.join(_OPS)}."
        raise ValueError(message)
    is_mean = op.lower() in ("mean", "avg")
    if is_mean and not (tensor.is_floating_point() or tensor.is_complex()):
        tensor = tensor.to(torch.get_default_dtype())
    # not contiguous, or a scalar that somebody expanded: collectives take neither
    reduced = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(reduced, _OPS[op.lower()], group=group)
    return reduced.div_(dist.get_world_size(group)) if is_mean else reduced


def all_gather(tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
    """Return the tensors of all ranks, which have one shape, stacked along a new first dimension."""
    if not sync_grads:
        return _gather(tensor.detach(), group)
    gathered: Tensor = _Gathering.apply(tensor, group)  # type: ignore[no-untyped-call]
    return gathered


def broadcast_object(obj: Any, src: int, device: torch.device) -> Any:
    """Return the picklable object of rank ``src``."""
    holder = [obj]
    dist.broadcast_object_list(holder, src=src, device=device)
    return holder[0]


class _Gathering(Function):
    """Gathering whose gradient is the sum of what all ranks made of a rank's tensor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _gather(tensor, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _OwnShare.apply(gradient, ctx.group), None  # type: ignore[no-untyped-call]


class _OwnShare(Function):
    """The opposite: this rank's share of the sum over ranks; a gradient through it (a second one) gathers again."""

    @staticmethod
    def forward(ctx: Any, stacked: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return reduce(stacked, op="sum", group=group)[dist.get_rank(group)].clone()  # not every backend can scatter

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Gathering.apply(gradient, ctx.group), None  # type: ignore[no-untyped-call]


def _gather(tensor: Tensor, group: Any) -> Tensor:
    tensor = tensor.contiguous()
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, tensor, group=group)
    return torch.stack(gathered)
