"""Spans of a profiler around what a run calls; a run without a profiler calls the very same functions."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from lt_interfaces.profiler import Profiler


class PassThroughProfiler(Profiler):
    """Measures nothing: ``trainer.profiler`` where none was given, so that code of one's own may always use it.

    >>> with PassThroughProfiler().profile("mine") as name:
    ...     name
    'mine'
    """

    def setup(self, stage: str, local_rank: int | None, log_dir: str | None) -> None: ...

    def start(self, action_name: str) -> None: ...

    def stop(self, action_name: str) -> None: ...

    def profile(self, action_name: str) -> AbstractContextManager[str]:
        return nullcontext(action_name)

    def summary(self) -> str:
        return ""

    def describe(self) -> None: ...

    def teardown(self, stage: str | None) -> None: ...


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
