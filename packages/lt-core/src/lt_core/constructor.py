"""The Trainer's constructor takes defaults from the environment and names misspelt arguments."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

from lt_core.specs import environment_defaults, unknown_argument_error


def with_environment_defaults(init: Callable[..., None]) -> Callable[..., None]:
    """Let ``PL_<CLASS>_<ARGUMENT>`` variables supply defaults; what the caller passes goes first.

    Arguments may be given by position, in the order of the signature.
    """
    constructor = signature(init)
    names = [name for name in constructor.parameters if name != "self"]

    @wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(names) or set(names[: len(args)]) & set(kwargs):
            twice = sorted(set(names[: len(args)]) & set(kwargs))
            message = f"{type(self).__name__} got {len(args)} arguments by position, and {twice} by name too."
            raise TypeError(message)
        given = dict(zip(names, args, strict=False)) | kwargs
        if not given.keys() <= set(names):
            raise unknown_argument_error(given, names)
        init(self, **{**environment_defaults(type(self).__name__, constructor), **given})

    return wrapped
