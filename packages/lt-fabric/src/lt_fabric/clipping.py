"""Clipping the gradients of one optimizer in a loop of one's own."""

from torch import Tensor
from torch.optim import Optimizer

from lt_fabric.optimizer_proxy import unwrap_optimizer
from lt_fabric.runtime import Runtime


def clip_gradients_of(
    optimizer: Optimizer,
    runtime: Runtime,
    *,
    clip_value: float | None,
    max_norm: float | None,
    norm_type: float,
    error_if_nonfinite: bool,
) -> Tensor | None:
    """Unscale, then clip what the optimizer will use; exactly one of ``clip_value`` and ``max_norm`` is given."""
    if (clip_value is None) == (max_norm is None):
        message = f"Give one of `clip_val` and `max_norm`, not clip_val={clip_value!r} and max_norm={max_norm!r}."
        raise ValueError(message)
    optimizer = unwrap_optimizer(optimizer)
    runtime.precision.unscale_gradients(optimizer)
    return runtime.strategy.clip_gradients(
        [parameter for group in optimizer.param_groups for parameter in group["params"]],
        max_norm=max_norm,
        clip_value=clip_value,
        norm_type=norm_type,
        error_if_nonfinite=error_if_nonfinite,
    )
