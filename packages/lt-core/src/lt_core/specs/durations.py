"""Durations as users write them: ``"DD:HH:MM:SS"``, a timedelta, or its keyword arguments."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from lt_fabric.argument_checks import refusal
from lt_interfaces.errors import MisconfigurationException

_ACCEPTED: Final = (
    "a duration above zero: a string 'DD:HH:MM:SS' (days, hours, minutes, seconds), a datetime.timedelta, "
    "or a dict of its keyword arguments such as {'hours': 1, 'minutes': 30}"
)
_UNITS: Final = ("days", "hours", "minutes", "seconds")


def is_duration(value: object) -> bool:
    """Say whether the value has a type that durations are written in."""
    return isinstance(value, str | timedelta | Mapping)


def parse_duration(name: str, value: object, *, accepted: str = _ACCEPTED) -> timedelta:
    """Return the duration that an argument stands for.

    Args:
        name: the argument as the user spells it.
        value: what came.
        accepted: replaces the description of durations in messages, where there are other possibilities too.

    Raises:
        MisconfigurationException: for a malformed, zero or negative duration.
        TypeError: for another type.

    >>> parse_duration("max_time", "00:12:30:00")
    datetime.timedelta(seconds=45000)
    """
    if not is_duration(value):
        message = refusal(name, value, accepted=accepted)
        raise TypeError(message)
    try:
        duration = _read(value)
    except (TypeError, ValueError, OverflowError) as error:
        message = refusal(name, value, accepted=accepted)
        raise MisconfigurationException(message) from error
    if duration <= timedelta(0):
        message = refusal(name, value, accepted=accepted)
        raise MisconfigurationException(message)
    return duration


def _read(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, Mapping):
        return timedelta(**value)
    parts = str(value).split(":")
    if not all(part.isdecimal() for part in parts):
        message = f"a part of {value!r} isn't a whole number"
        raise ValueError(message)
    return timedelta(**{unit: int(part) for unit, part in zip(_UNITS, parts, strict=True)})
