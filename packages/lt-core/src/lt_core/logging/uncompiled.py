"""Metric objects in compiled steps: their methods run as they are, outside of graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any, Final

import torch
from torch import nn

from lt_core.logging.metric_objects import metrics_of

_METHODS: Final = ("forward", "update", "compute", "reset")
_WHY: Final = "metric objects count in Python numbers, so they'd be compiled anew at each step"


class Uncompiled:
    """A method of a metric object; called in a compiled step it runs between two graphs.

    Metric objects count their updates in Python numbers. Code that was compiled for one count is no good for the next,
    and after a few attempts torch would run the whole step uncompiled.

    Args:
        metric: whose method it is.
        name: the method's.
    """

    def __init__(self, metric: Any, name: str) -> None:
        method: Callable[..., Any] = getattr(metric, name)
        update_wrapper(self, method)
        self._metric: Final = metric
        self._name: Final = name
        self._method: Final = method

    @torch.compiler.disable(reason=_WHY)  # type: ignore[no-untyped-call, untyped-decorator]  # torch leaves it untyped
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        return self._method(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy of the metric have a method of its own in this one's place."""
        return getattr, (self._metric, self._name)


Known = dict[tuple[int, str], Uncompiled]
"""The methods of earlier runs by metric and name: compiled code lives as long as what it calls."""


@contextmanager
def uncompiled_metrics(module: nn.Module, known: Known) -> Iterator[None]:
    """Keep the metric objects of a module out of graphs, within the context.

    Args:
        module: where they are.
        known: the methods that were kept out before; new ones are added.
    """
    before: list[tuple[dict[str, Any], str, Any]] = []
    for metric in metrics_of(module).values():
        own: dict[str, Any] = getattr(metric, "__dict__", {})  # of one that has slots alone it changes nothing
        for name in _METHODS:
            if callable(getattr(metric, name, None)):
                before.append((own, name, own.get(name)))
                own[name] = known.setdefault((id(metric), name), Uncompiled(metric, name))
    try:
        yield
    finally:
        for own, name, method in before:
            if method is None:
                del own[name]
            else:
                own[name] = method
