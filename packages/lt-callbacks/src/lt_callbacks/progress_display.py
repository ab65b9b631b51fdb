"""What draws progress: the contract of a display, and the one for logs."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import IO, Any, Final

from lt_callbacks.refresh_pace import RefreshPace

Metrics = Mapping[str, Any]
"""What a bar shows beside the counts: numbers and words."""

_PLAIN_SECONDS: Final = 60.0


class Bar(Enum):
    """The bars that may be open at the same time, in their order on the screen."""

    TRAINING = 0
    EVALUATION = 1


class ProgressDisplay(ABC):
    """Draws a bar for training and, below it, one for the evaluation that interrupts it.

    Order of calls for each: `open`, `refresh` as often as the pace says, `close`.
    """

    shortest_seconds: float = 0.1
    """The time between two refreshes that's never undercut."""
    longest_seconds: float = 1.0
    """The time without a refresh that's never exceeded."""

    def pace(self, every: int) -> RefreshPace:
        """Return when to refresh a bar that should move every so many batches."""
        return RefreshPace(every, shortest_seconds=self.shortest_seconds, longest_seconds=self.longest_seconds)

    @abstractmethod
    def open(self, bar: Bar, description: str, total: float) -> None:
        """Begin a bar over ``total`` batches (infinite: unknown) with the description before it."""

    @abstractmethod
    def refresh(self, bar: Bar, done: int, metrics: Metrics) -> None:
        """Draw a bar with the number of batches done and the metrics."""

    @abstractmethod
    def close(self, bar: Bar, *, keep: bool) -> None:
        """End a bar, which stays or vanishes."""

    @abstractmethod
    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bars."""

    @abstractmethod
    def stop(self) -> None:
        """End everything, also after a failure; quiet when nothing is open."""


class LineDisplay(ProgressDisplay):
    """Writes whole lines, for output that isn't a terminal: one when a bar ends, and one a minute meanwhile.

    An evaluation inside of training gets no line at its end: its metrics stand in the training's line.
    """

    shortest_seconds = _PLAIN_SECONDS
    longest_seconds = _PLAIN_SECONDS

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: dict[Bar, _Line] = {}

    def open(self, bar: Bar, description: str, total: float) -> None:
        self._lines[bar] = _Line(description, total)

    def refresh(self, bar: Bar, done: int, metrics: Metrics) -> None:
        line = self._lines[bar]
        line.done, line.metrics = done, metrics
        if line.is_old():
            self.print(line)

    def close(self, bar: Bar, *, keep: bool) -> None:
        line = self._lines.pop(bar)
        if line.done and (keep or bar is Bar.TRAINING):
            self.print(line)

    def print(self, *args: Any, **kwargs: Any) -> None:
        print(*args, **{"file": self._stream, "flush": True, **kwargs})  # noqa: T201  # it's what this class is for

    def stop(self) -> None:
        self._lines.clear()


class _Line:
    """The state of one bar, written as one line."""

    def __init__(self, description: str, total: float) -> None:
        self.done = 0
        self.metrics: Metrics = {}
        self._description = description
        self._total = total
        self._start = self._shown = time.monotonic()

    def is_old(self) -> bool:
        """Whether it's time to show the line though its bar goes on; if so, the time counts from here."""
        now = time.monotonic()
        if now - self._shown < _PLAIN_SECONDS:
            return False
        self._shown = now
        return True

    def __str__(self) -> str:
        seconds = time.monotonic() - self._start
        total = "" if math.isinf(self._total) else f"/{int(self._total)}"
        speed = f"{self.done / seconds:.2f} batches/s" if seconds else ""
        shown = " ".join(f"{name}={format_value(value)}" for name, value in self.metrics.items())
        counts = f"{self._description}: {self.done}{total} [{timedelta(seconds=round(seconds))}, {speed}]"
        return f"{counts} {shown}".rstrip()


def format_value(value: Any, spec: str = ".3g") -> str:
    """Return a metric as a bar shows it: floats by a format, anything else as it is.

    >>> format_value(0.12345), format_value(7), format_value("3f2a")
    ('0.123', '7', '3f2a')
    """
    return format(value, spec) if isinstance(value, float) else str(value)
