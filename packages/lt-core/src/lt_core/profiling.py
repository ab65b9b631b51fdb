"""Spans of a profiler around what a run calls; a run without a profiler calls the very same functions."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from lt_interfaces.profiler import Profiler


def profiled(profiler: Profiler | None, action: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a span around each call; the function itself where there's no profiler."""
    if profiler is None:
        return function

    @wraps(function)
    def measured(*args: Any, **kwargs: Any) -> Any:
        with profiler.profile(action):
            return function(*args, **kwargs)

    return measured


def action_name(kind: str, owner: Any, method: str) -> str:
    """Return the name of a span, e.g. ``[LightningModule]Net.training_step``.

    Args:
        kind: "LightningModule", "LightningDataModule" or "Callback".
        owner: whose method it is; a callback with state goes by its state key.
        method: the method.
    """
    label = getattr(owner, "state_key", None) if kind == "Callback" else None
    return f"[{kind}]{label or type(owner).__name__}.{method}"
