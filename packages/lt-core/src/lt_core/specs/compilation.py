"""The Trainer's `compile` argument: whether the module's steps are compiled, and with which settings."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import torch

from lt_fabric.argument_checks import check_bool, refusal
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.spelling import did_you_mean

_SWITCHES = ("fullgraph", "disable")


def resolve_compilation(compile: object) -> Mapping[str, Any] | None:
    """Return the arguments for `torch.compile`; ``None``: nothing is compiled.

    What they are is checked by torch itself, which loads its compiler for that.

    Raises:
        MisconfigurationException: for an argument that `torch.compile` doesn't know, or a value that it doesn't take.
        TypeError: for what's neither a bool nor a dict, and for switches that aren't bools.

    >>> resolve_compilation(False) is None
    True
    >>> resolve_compilation({"fullgraph": True})
    {'fullgraph': True}
    """
    if isinstance(compile, bool):
        return {} if compile else None
    if not isinstance(compile, Mapping):
        message = refusal("compile", compile, accepted="True, False or a dict of arguments for `torch.compile`")
        raise TypeError(message)
    _check_names(compile)
    for name in _SWITCHES:
        if name in compile:
            check_bool(f"compile['{name}']", compile[name])
    if compile.get("disable"):
        return None
    try:
        torch.compile(_nothing, **compile)
    except Exception as error:  # torch raises RuntimeError, ValueError, and errors of its compiler
        message = f"`compile` is {dict(compile)!r}, which `torch.compile` doesn't take: {error}"
        raise MisconfigurationException(message) from error
    return dict(compile)


def _check_names(given: Mapping[Any, Any]) -> None:
    parameters = signature(torch.compile).parameters.values()
    accepted = [one.name for one in parameters if one.kind is Parameter.KEYWORD_ONLY]
    for name in given:
        if name not in accepted:
            message = (
                f"`compile` is {dict(given)!r}, but `torch.compile` takes no {name!r}."
                f"{did_you_mean(str(name), accepted)} It takes {', '.join(accepted)}."
            )
            raise MisconfigurationException(message)


def _nothing() -> None:
    """Stands for a step."""
