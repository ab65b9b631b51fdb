"""How often a progress bar is drawn: a pure rule of batches and time."""

import time
from collections.abc import Callable
from typing import Final

_NEVER: Final = float("inf")


class RefreshPace:
    """Says when a bar is due for a refresh: every ``every`` batches, but neither too often nor too rarely.

    Between two refreshes at least ``shortest_seconds`` pass. After ``longest_seconds`` a refresh is due whatever the
    number of batches, so that a bar over slow batches still moves.

    >>> pace = RefreshPace(every=10, shortest_seconds=0.0, longest_seconds=60.0)
    >>> pace.is_due(9), pace.is_due(10)
    (False, True)
    """

    def __init__(
        self,
        every: int,
        *,
        shortest_seconds: float = 0.1,
        longest_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every = every
        self._shortest = shortest_seconds
        self._longest = longest_seconds
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Begin to count anew: a bar was opened."""
        self._refreshed(0)

    def is_due(self, done: int) -> bool:
        """Whether to refresh now that ``done`` batches are done; if so, the next refresh is counted from here."""
        now = self._clock()
        if now < self._next_time or (done < self._next_batch and now < self._latest_time):
            return False
        self._refreshed(done)
        return True

    def _refreshed(self, done: int) -> None:
        now = self._clock()
        self._next_batch = done + self._every if self._every else _NEVER
        self._next_time = now + self._shortest
        self._latest_time = now + self._longest if self._every else _NEVER
