"""Checks of single arguments: a value comes back in its plain Python type, or an error names the argument.

A wrong type raises `TypeError`, a wrong value `MisconfigurationException`, which is a `ValueError`. Every message names
the argument in backticks, what came and what is accepted. NumPy's numbers count as Python's; a bool is no number.
"""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Final, TypeGuard

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.spelling import did_you_mean

_LONGEST_VALUE: Final = 200


def refusal(name: str, value: object, *, accepted: str, hint: str = "") -> str:
    """Word the message for a refused argument; the caller raises.

    >>> refusal("max_steps", -7, accepted="an integer >= -1", hint=" -1 means no limit.")
    '`max_steps` must be an integer >= -1, but got -7. -1 means no limit.'
    """
    shown = repr(value)
    if len(shown) > _LONGEST_VALUE:
        shown = f"{shown[:_LONGEST_VALUE]}..."
    return f"`{name}` must be {accepted}, but got {shown}.{hint}"


def is_int(value: object) -> TypeGuard[int]:
    """Say whether the value is an integer of Python or NumPy; a bool isn't one."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Say whether the value is a real number of Python or NumPy, NaN and infinity included; a bool isn't one."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_bool(name: str, value: object, *, accepted: str = "True or False") -> bool:
    """Return the bool, or raise `TypeError`."""
    if isinstance(value, bool):
        return value
    message = refusal(name, value, accepted=accepted)
    raise TypeError(message)


def check_int(
    name: str,
    value: object,
    *,
    minimum: int,
    accepted: str | None = None,
    wrong_type: type[Exception] = TypeError,
) -> int:
    """Return the integer if it's at least ``minimum``.

    Args:
        name: the argument as the user spells it.
        value: what came.
        minimum: the smallest integer accepted.
        accepted: replaces "an integer >= minimum" in messages, where there are other possibilities too.
        wrong_type: raised for anything that isn't an integer.

    >>> check_int("num_nodes", 2, minimum=1)
    2
    """
    accepted = accepted or f"an integer >= {minimum}"
    if not is_int(value):
        whole = isinstance(value, float) and value.is_integer()
        message = refusal(name, value, accepted=accepted, hint=f" Write {value:.0f}." if whole else "")
        raise wrong_type(message)
    if value < minimum:
        message = refusal(name, value, accepted=accepted)
        raise MisconfigurationException(message)
    return int(value)


def check_number(name: str, value: object, *, minimum: float, accepted: str | None = None) -> int | float:
    """Return the finite number if it's at least ``minimum``; integers stay integers."""
    accepted = accepted or f"a finite number >= {minimum}"
    if not is_number(value):
        message = refusal(name, value, accepted=accepted)
        raise TypeError(message)
    if not math.isfinite(value) or value < minimum:
        message = refusal(name, value, accepted=accepted)
        raise MisconfigurationException(message)
    return int(value) if is_int(value) else float(value)


def check_fraction_or_count(name: str, value: object, *, accepted: str | None = None, also: str = "") -> int | float:
    """Return a float in [0, 1], a fraction, or an integer >= 0, a count; a larger whole float becomes a count.

    Args:
        name: the argument as the user spells it.
        value: what came.
        accepted: replaces the description of what's accepted in messages.
        also: what the caller accepts beside it, for the message.

    >>> check_fraction_or_count("limit_val_batches", 2.0), check_fraction_or_count("limit_val_batches", 0.5)
    (2, 0.5)
    """
    accepted = accepted or "an integer >= 0 (a number of batches), a float from 0.0 to 1.0 (a fraction of the batches)"
    accepted += also
    number = check_number(name, value, minimum=0, accepted=accepted)
    if isinstance(number, int) or number <= 1:
        return number
    if not number.is_integer():
        message = refusal(name, value, accepted=accepted)
        raise MisconfigurationException(message)
    return int(number)


def check_choice(
    name: str,
    value: object,
    *,
    choices: Iterable[str],
    also: str = "",
    wrong_type: type[Exception] = MisconfigurationException,
) -> str:
    """Return the choice that the string names, whatever its case; a misspelt one is told what it may have meant.

    Args:
        name: the argument as the user spells it.
        value: what came.
        choices: the strings accepted.
        also: what is accepted beside strings, for the message.
        wrong_type: raised for anything that isn't a string.

    >>> check_choice("gradient_clip_algorithm", "Norm", choices=["norm", "value"])
    'norm'
    """
    choices = list(choices)
    accepted = f"one of {', '.join(map(repr, choices))}{also}"
    if not isinstance(value, str):
        message = refusal(name, value, accepted=accepted, hint=instance_hint(value))
        raise wrong_type(message)
    for choice in choices:
        if choice.lower() == value.lower():
            return choice
    message = refusal(name, value, accepted=accepted, hint=did_you_mean(value, choices))
    raise MisconfigurationException(message)


def fulfils(value: object, contract: type) -> bool:
    """Say whether the value is an instance that has everything a contract demands, derived from it or not.

    >>> fulfils(3, int), fulfils(int, int)
    (True, False)
    """
    if isinstance(value, type):
        return False
    demanded: Iterable[str] = getattr(contract, "__abstractmethods__", ())
    return isinstance(value, contract) or (bool(demanded) and all(hasattr(type(value), name) for name in demanded))


def instance_hint(value: object) -> str:
    """Return the advice for a class that came where an instance of it is needed, else nothing.

    >>> instance_hint(dict)
    ' Pass an instance: `dict(...)`.'
    """
    return f" Pass an instance: `{value.__name__}(...)`." if isinstance(value, type) else ""
