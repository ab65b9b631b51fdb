"""Clipping of gradients as a module asks for it."""

from collections.abc import Callable
from math import inf
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lt_core.specs import TrainerSpecs
from lt_fabric.runtime import Runtime
from lt_interfaces.errors import MisconfigurationException

_ALGORITHMS = ("norm", "value")


def clip_gradients(
    runtime: Runtime,
    specs: TrainerSpecs,
    *,
    note: Callable[[Tensor | None], None],
    optimizer: Optimizer,
    value: Any,
    algorithm: Any,
) -> Tensor | None:
    """Clip the gradients of an optimizer's parameters, unscaled; returns the norm before clipping, without a host sync.

    Args:
        runtime: whose strategy clips, and whose precision may have scaled the gradients.
        specs: what the Trainer was told.
        note: called with the norm, ``None`` where it isn't measured.
        optimizer: the user's own, or the proxy that modules get.
        value: the largest norm or value; ``None``: the Trainer's.
        algorithm: "norm" or "value"; ``None``: the Trainer's.

    Raises:
        MisconfigurationException: when the Trainer was told something else, or for an unknown algorithm.
    """
    spec = specs.optimization
    limit = _agreed("gradient_clip_val", value, spec.gradient_clip_val)
    asked = None if algorithm is None else str(getattr(algorithm, "value", algorithm)).lower()
    name = _agreed("gradient_clip_algorithm", asked, spec.gradient_clip_algorithm) or "norm"
    if name not in _ALGORITHMS:
        message = f"`gradient_clip_algorithm={algorithm!r}` isn't known; accepted are {list(_ALGORITHMS)}."
        raise MisconfigurationException(message)
    if limit is None or limit <= 0:
        return None
    runtime.precision.unscale_gradients(getattr(optimizer, "optimizer", optimizer))
    parameters, strategy = parameters_of(optimizer), runtime.strategy
    if name == "value" and specs.logging.log_gradient_norm:
        norm = strategy.clip_gradients(parameters, max_norm=inf)
    elif name == "norm":
        norm = strategy.clip_gradients(parameters, max_norm=float(limit))
    else:
        norm = None
    note(norm)
    return strategy.clip_gradients(parameters, clip_value=float(limit)) if name == "value" else norm


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimizer updates."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _agreed(name: str, given: Any, trainers: Any) -> Any:
    """Return the value given, else the Trainer's; two that differ are refused."""
    if given is None:
        return trainers
    if trainers is not None and given != trainers:
        message = (
            f"`{name}={given!r}` was passed to `clip_gradients`, but the Trainer has `{name}={trainers!r}`."
            " Set it in one place only."
        )
        raise MisconfigurationException(message)
    return given
