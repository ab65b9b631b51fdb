"""The prefix that a logger may put before every metric's name."""

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def prefixed(metrics: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the metrics under ``<prefix>-<name>``; without a prefix, under their own names.

    >>> prefixed({"loss": 0.5}, "teacher")
    {'teacher-loss': 0.5}
    """
    return {f"{prefix}-{name}" if prefix else name: value for name, value in metrics.items()}
