"""Clipping of gradients as a module asks for it."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lt_core.specs.optimization import OptimizationSpec
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.strategy import Strategy

_ALGORITHMS = ("norm", "value")


def clip_gradients(
    strategy: Strategy, spec: OptimizationSpec, *, optimizer: Optimizer, value: Any, algorithm: Any
) -> Tensor | None:
    """Clip the gradients of an optimizer's parameters; returns the norm before clipping, without a host sync.

    Raises:
        MisconfigurationException: when the Trainer was told something else, or for an unknown algorithm.
    """
    limit = _agreed("gradient_clip_val", value, spec.gradient_clip_val)
    asked = None if algorithm is None else str(getattr(algorithm, "value", algorithm)).lower()
    name = _agreed("gradient_clip_algorithm", asked, spec.gradient_clip_algorithm) or "norm"
    if name not in _ALGORITHMS:
        message = f"`gradient_clip_algorithm={algorithm!r}` isn't known; accepted are {list(_ALGORITHMS)}."
        raise MisconfigurationException(message)
    if limit is None or limit <= 0:
        return None
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if name == "value":
        return strategy.clip_gradients(parameters, clip_value=float(limit))
    return strategy.clip_gradients(parameters, max_norm=float(limit))


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
