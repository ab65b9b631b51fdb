"""Messages and calls that should happen once per job, on global rank 0.

The rank is read from the launcher's environment variables when this module is imported and corrected by
`set_global_rank` once a strategy knows it. Messages go to the logger named ``lt``, whose level is INFO. Where the
program has configured logging its handlers show them, else they appear on standard error; to see fewer:
``logging.getLogger("lt").setLevel(logging.WARNING)``.
"""

import logging
import os
import sys
from collections.abc import Mapping

from lightning_utilities.core.rank_zero import (
    rank_prefixed_message,
    rank_zero_deprecation,
    rank_zero_only,
    rank_zero_warn,
)

__all__ = [
    "WarningCache",
    "global_rank",
    "rank_from_environment",
    "rank_prefixed_message",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "set_global_rank",
]

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_logger = logging.getLogger("lt")


class _UnconfiguredLogging(logging.Handler):
    """Shows records on standard error as long as the program has no logging configuration of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            sys.stderr.write(f"{self.format(record)}\n")


def rank_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """Read this process's rank from the first launcher variable that holds a number, else 0.

    >>> rank_from_environment({"SLURM_PROCID": "3"})
    3
    """
    values = (environment.get(variable, "") for variable in _RANK_VARIABLES)
    return next((int(value) for value in values if value.isdecimal()), 0)


def global_rank() -> int:
    """Return this process's rank in the whole job, as far as it is known by now."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]  # upstream keeps it as a function attribute
    return rank


def set_global_rank(rank: int) -> None:
    """Tell every rank-zero function which rank this process has; strategies call it once their ranks are known."""
    rank_zero_only.rank = rank  # type: ignore[attr-defined]


@rank_zero_only
def rank_zero_info(message: object, *args: object, stacklevel: int = 3) -> None:
    """Log at level INFO on global rank 0; ``args`` are merged into the message as logging does."""
    _logger.info(message, *args, stacklevel=stacklevel)


@rank_zero_only
def rank_zero_debug(message: object, *args: object, stacklevel: int = 3) -> None:
    """Log at level DEBUG on global rank 0; ``args`` are merged into the message as logging does."""
    _logger.debug(message, *args, stacklevel=stacklevel)


class WarningCache(set[str]):
    """Says each message once, for as long as the cache lives.

    >>> cache = WarningCache()
    >>> cache.info("only once")
    >>> cache.info("only once")
    >>> len(cache)
    1
    """

    def warn(self, message: str, stacklevel: int = 5, category: type[Warning] = UserWarning) -> None:
        """Warn on global rank 0 unless this cache has said so before."""
        if message not in self:
            self.add(message)
            rank_zero_warn(message, stacklevel=stacklevel, category=category)

    def deprecation(self, message: str, stacklevel: int = 6) -> None:
        """Give a deprecation warning on global rank 0 unless this cache has said so before."""
        if message not in self:
            self.add(message)
            rank_zero_deprecation(message, stacklevel=stacklevel)

    def info(self, message: str, stacklevel: int = 4) -> None:
        """Log at level INFO on global rank 0 unless this cache has said so before."""
        if message not in self:
            self.add(message)
            rank_zero_info(message, stacklevel=stacklevel)


# A rank that another library sharing lightning_utilities has set already is the better knowledge.
set_global_rank(getattr(rank_zero_only, "rank", rank_from_environment()))

if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.INFO)
if not _logger.handlers:
    _logger.addHandler(_UnconfiguredLogging())
