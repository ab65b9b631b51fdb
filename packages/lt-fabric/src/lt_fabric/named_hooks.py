"""Calling the hooks that users' own loops invent."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lt_interfaces.rank_zero import rank_zero_warn


def call_hook(listeners: Iterable[Any], name: str, *args: Any, **kwargs: Any) -> None:
    """Call the method of this name on every listener that has one, in order.

    Keyword arguments that a method doesn't take are left out; something of that name that isn't callable is skipped
    with a warning.
    """
    for listener in listeners:
        method = getattr(listener, name, None)
        if method is None:
            continue
        if not callable(method):
            rank_zero_warn(f"`{name}` of {type(listener).__name__} isn't a method, so it isn't called.")
            continue
        method(*args, **_accepted(method, kwargs))


def _accepted(method: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(method).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(kwargs)
    return {name: value for name, value in kwargs.items() if name in parameters}
