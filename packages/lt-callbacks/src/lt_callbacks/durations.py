"""Lengths of time as users write them."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from lt_interfaces.errors import MisconfigurationException

Duration = str | timedelta | Mapping[str, int]
"""``"DD:HH:MM:SS"``, a timedelta, or timedelta's keyword arguments."""

_DAYS_TO_SECONDS: Final = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")


def parse_duration(duration: Duration) -> timedelta:
    """Return a length of time as a timedelta.

    Raises:
        MisconfigurationException: for anything else than the forms of `Duration`.

    >>> parse_duration("01:12:00:30")
    datetime.timedelta(days=1, seconds=43230)
    """
    if isinstance(duration, timedelta):
        return duration
    if isinstance(duration, str) and (parts := _DAYS_TO_SECONDS.fullmatch(duration.strip())):
        days, hours, minutes, seconds = map(int, parts.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if isinstance(duration, Mapping):
        try:
            return timedelta(**duration)
        except TypeError as error:
            message = f"`duration={duration!r}` isn't made of timedelta's keywords: {error}."
            raise MisconfigurationException(message) from error
    message = f"`duration` must be 'DD:HH:MM:SS', a timedelta, a dict of its keywords or None, not {duration!r}."
    raise MisconfigurationException(message)
