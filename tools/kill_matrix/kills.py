"""Where a run is killed: a process that reaches the chosen moment ends itself with SIGKILL there."""

import os
import random
import signal
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

DELAY = "after a while"
"""The moment that the parent chooses: anywhere, whatever the child does."""
TORN = "within a write"


@dataclass(frozen=True)
class Kill:
    """A moment, and the how manieth time it's reached, or the seconds to wait."""

    moment: str
    at: float


class Executioner:
    """Counts moments in one process, and kills it at one of them."""

    def __init__(self, kill: Kill | None) -> None:
        self.kill = kill
        self.counts: Counter[str] = Counter()

    def reach(self, moment: str) -> None:
        """Count a moment; doesn't return if it's the one."""
        if self._is_the_one(moment):
            _die()

    def watch_files(self) -> None:
        """Make every flush to disk and every renaming of this process a moment, before and after it happens."""
        # Ours call them with whatever os takes, hence Any.
        fsync, replace = os.fsync, os.replace

        def watched_fsync(descriptor: Any) -> None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and self._is_the_one(TORN):
                # The state of the disk when a kill came while these bytes were written.
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                _die()
            self.reach("before a flush")
            fsync(descriptor)
            self.reach("after a flush")

        def watched_replace(source: Any, target: Any, **options: Any) -> None:
            self.reach("before a rename")
            replace(source, target, **options)
            self.reach("after a rename")

        vars(os).update(fsync=watched_fsync, replace=watched_replace)

    def _is_the_one(self, moment: str) -> bool:
        self.counts[moment] += 1
        return self.kill is not None and self.kill.moment == moment and self.kill.at == self.counts[moment]


def draw_kill(chance: random.Random, counts: Mapping[str, int], seconds: float) -> Kill:
    """Choose a moment: of those that an uninterrupted run has, among the first half, or after a random time.

    Args:
        chance: decides.
        counts: how often an uninterrupted run reaches each moment.
        seconds: how long it takes.
    """
    moment = chance.choice([*sorted(counts), DELAY])
    if moment == DELAY:
        return Kill(DELAY, chance.uniform(0.3, 0.9) * seconds)
    return Kill(moment, chance.randint(1, max(1, counts[moment] // 2)))


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    message = "SIGKILL can't be survived"
    raise AssertionError(message)
