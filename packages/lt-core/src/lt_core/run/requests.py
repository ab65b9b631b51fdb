"""Requests to a run: whoever acts from outside (callbacks, signals, timers) asks here; the loop looks at step ends."""

from collections import deque
from dataclasses import dataclass
from os import PathLike
from typing import Any

from lt_interfaces.flag_exchange import FlagExchange


@dataclass(frozen=True)
class SaveRequest:
    """A checkpoint to be written at the next step boundary."""

    path: str | PathLike[str]
    weights_only: bool = False
    storage_options: Any = None


@dataclass
class Agreement:
    """How ranks come to know, while they train, what some of them were asked for."""

    exchange: FlagExchange | None = None
    """Made when training starts."""
    covers_saves: bool = False
    """Whether all ranks know that one of them was asked for a checkpoint."""
    covers_step_values: bool = True
    """Whether ranks compare the step values they logged when the next are due; after none were, until one tells."""


class Requests:
    """What was asked of the run since it started; the loop honours it at the next step boundary.

    Setting a flag and appending a path are atomic in CPython, so a signal handler or a thread may ask. With several
    ranks, what one of them asked for counts once all know of it.

    Args:
        is_shared: whether other ranks have to agree.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_pending = False
        """Whether anything was asked; the only thing that a step looks at."""
        self.is_stop_wanted = False
        """Whether somebody on this rank asked to stop."""
        self.stop = False
        """Whether the run is to stop, on all ranks alike."""
        self.stop_reason = ""
        self.told_of_minimum = False
        """Whether the user was told that a stop waits for ``min_epochs`` or ``min_steps``."""
        self.agreement = Agreement() if is_shared else None
        """With several ranks, how they agree; ``None`` in one process."""
        self._saves: deque[SaveRequest] = deque()

    def wake(self, *_: Any) -> None:
        """Let the loop look at the next step boundary."""
        self.is_pending = True

    def request_stop(self, reason: str = "") -> None:
        """Ask to stop."""
        self.stop_reason = reason
        self.is_stop_wanted = True
        self.stop = self.stop or self.agreement is None
        self.is_pending = True

    def withdraw_stop(self) -> None:
        """Take back the wish to stop."""
        self.stop = self.is_stop_wanted = False

    def request_save(self, wanted: SaveRequest) -> None:
        """Ask for a checkpoint."""
        self._saves.append(wanted)
        self.is_pending = True

    @property
    def has_saves(self) -> bool:
        """Whether a checkpoint was asked for."""
        return bool(self._saves)

    def take_save(self) -> SaveRequest | None:
        """Return the next checkpoint asked for, ``None`` when there's none."""
        return self._saves.popleft() if self._saves else None
