"""Functions and methods that Fabric can launch."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from lt_interfaces import Launcher


class Launchable(Protocol):
    """What `launching` needs of Fabric."""

    @property
    def is_launched(self) -> bool:
        """Whether this process is one of a running job."""

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``function(fabric, *args, **kwargs)`` in every process of the job."""


def rest_of_script(fabric: Any) -> None:
    """Stand for the function to launch when the rest of the script is what shall run."""


def check_launchable(function: object, launcher: Launcher | None) -> None:
    """Refuse what can't be called with Fabric as its first argument, or isn't there where a launcher needs it.

    Raises:
        TypeError: for either.

    >>> check_launchable(lambda fabric: None, launcher=None)
    """
    if function is rest_of_script and launcher is not None and not launcher.returns_results:
        message = (
            f"{type(launcher).__name__} starts processes with a function, so `launch` needs one: "
            "`fabric.launch(train)`."
        )
        raise TypeError(message)
    if not callable(function):
        message = f"`function` must be a function that takes Fabric, not {function!r}."
        raise TypeError(message)
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    if not any(kind in positional for kind in kinds):
        message = f"`function` must take Fabric as its first argument, but {function!r} takes none."
        raise TypeError(message)


def launching(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of Fabric that is launched when it's called outside of a running job."""

    @wraps(method)
    def launched(fabric: Launchable, *args: Any, **kwargs: Any) -> Any:
        if fabric.is_launched:
            return method(fabric, *args, **kwargs)
        return fabric.launch(launched, *args, **kwargs)

    return launched
