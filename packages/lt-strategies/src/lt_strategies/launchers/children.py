"""The processes that a launcher has started, and how they're ended."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

PATIENCE_SECONDS: Final = 3.0
_AFTER_TERM_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Child:
    """One process of the job."""

    rank: int
    pid: int
    exit_code: Callable[[], int | None]
    """Returns ``None`` while it runs, and minus the number of the signal that killed it."""

    @property
    def is_running(self) -> bool:
        """Whether it hasn't ended."""
        return self.exit_code() is None

    def send(self, signum: int) -> None:
        """Send a signal if it's still there."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    @property
    def ending(self) -> str:
        """How it ended, in words.

        >>> Child(rank=1, pid=0, exit_code=lambda: -9).ending
        'rank 1 was killed by SIGKILL'
        """
        code = self.exit_code()
        if code is None or code >= 0:
            return f"rank {self.rank} ended with exit code {code}"
        return f"rank {self.rank} was killed by {signal_name(-code)}"


def signal_name(signum: int) -> str:
    """Return the name of a signal, also of one that has none of its own.

    >>> signal_name(9)
    'SIGKILL'
    """
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def wait_for_end(children: Sequence[Child], seconds: float) -> bool:
    """Wait until all have ended; says whether they did in time."""
    deadline = time.monotonic() + seconds
    while any(child.is_running for child in children):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def end_children(children: Sequence[Child], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """End them all: they have some seconds to do so by themselves, then they're told to, then they're killed.

    Returns when none is left.
    """
    if wait_for_end(children, patience_seconds):
        return
    for child in children:
        child.send(signal.SIGTERM)
    if wait_for_end(children, _AFTER_TERM_SECONDS):
        return
    for child in children:
        child.send(signal.SIGKILL)
    wait_for_end(children, _AFTER_TERM_SECONDS + PATIENCE_SECONDS)
