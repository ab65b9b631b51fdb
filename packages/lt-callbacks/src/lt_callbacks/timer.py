"""Measures how long stages take, and bounds the run's time."""

import time
from datetime import timedelta
from typing import Any, ClassVar

from lightning_utilities.core.enums import StrEnum

from lt_callbacks.durations import Duration, parse_duration
from lt_callbacks.run import Run
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_info
from lt_interfaces.roles import Role
from lt_interfaces.spelling import did_you_mean


class Interval(StrEnum):
    """How often the time is looked at."""

    step = "step"
    epoch = "epoch"


_STAGES = ("train", "validate", "test")


class Timer(Callback):
    """Measures training, validation and test, and asks to stop when training has taken long enough.

    The training time of an interrupted run counts on after a resume. Rank 0's clock decides for all ranks.

    Args:
        duration: the limit for training: ``"DD:HH:MM:SS"``, a timedelta, a dict of its keywords; ``None``: no limit.
        interval: look at the clock after each batch (``"step"``) or at the end of each epoch (``"epoch"``).
        verbose: tell when the time is up.

    Raises:
        MisconfigurationException: for another form of ``duration`` or another ``interval``.

    >>> Timer("00:12:00:00").time_remaining()
    43200.0
    """

    role: ClassVar[Role | None] = Role.TIMER

    def __init__(
        self, duration: Duration | None = None, interval: str | Interval = Interval.step, verbose: bool = True
    ) -> None:
        self.set_duration(duration)
        self._interval = _checked_interval(interval)
        self._verbose = verbose
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._seconds_before = 0.0

    def set_duration(self, duration: Duration | None) -> None:
        """Bound the training time; ``None`` lifts the bound."""
        self._seconds = None if duration is None else parse_duration(duration).total_seconds()

    def start_time(self, stage: str = "train") -> float | None:
        """Return when a stage ("train", "validate" or "test") started, on the monotonic clock."""
        return self._started.get(_checked_stage(stage))

    def end_time(self, stage: str = "train") -> float | None:
        """Return when a stage ended, on the monotonic clock; ``None`` while it's running."""
        return self._ended.get(_checked_stage(stage))

    def time_elapsed(self, stage: str = "train") -> float:
        """Return the seconds spent in a stage; for training also those before a resume."""
        start = self.start_time(stage)
        before = self._seconds_before if stage == "train" else 0.0
        if start is None:
            return before
        return before + (self.end_time(stage) or time.monotonic()) - start

    def time_remaining(self, stage: str = "train") -> float | None:
        """Return the seconds left, ``None`` without a limit."""
        return None if self._seconds is None else self._seconds - self.time_elapsed(stage)

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in _STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = float(state_dict.get("time_elapsed", {}).get("train", 0.0))

    def on_fit_start(self, trainer: Run, pl_module: Any) -> None:
        # A resumed run may have used up its time already: then no batch is trained at all.
        self._check(trainer)

    def on_train_start(self, trainer: Run, pl_module: Any) -> None:
        self._start("train")

    def on_train_end(self, trainer: Run, pl_module: Any) -> None:
        self._end("train")

    def on_validation_start(self, trainer: Run, pl_module: Any) -> None:
        self._start("validate")

    def on_validation_end(self, trainer: Run, pl_module: Any) -> None:
        self._end("validate")

    def on_test_start(self, trainer: Run, pl_module: Any) -> None:
        self._start("test")

    def on_test_end(self, trainer: Run, pl_module: Any) -> None:
        self._end("test")

    def on_train_batch_end(self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._interval is Interval.step:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Run, pl_module: Any) -> None:
        if self._interval is Interval.epoch:
            self._check(trainer)

    def _start(self, stage: str) -> None:
        self._started[stage] = time.monotonic()
        self._ended.pop(stage, None)

    def _end(self, stage: str) -> None:
        self._ended[stage] = time.monotonic()

    def _check(self, trainer: Run) -> None:
        """Ask to stop when rank 0's time is up. Collective, but only with a limit."""
        remaining = self.time_remaining()
        if remaining is None or not trainer.broadcast(remaining <= 0):
            return
        elapsed = timedelta(seconds=round(self.time_elapsed()))
        if self._verbose and not trainer.should_stop:
            rank_zero_info(f"Timer: the time is up after {elapsed}; training stops.")
        trainer.request_stop(f"Timer: the time is up after {elapsed}")


def _checked_interval(interval: str | Interval) -> Interval:
    try:
        return Interval(interval)
    except ValueError as error:
        hint = did_you_mean(str(interval), list(Interval))
        message = f"`interval` must be 'step' or 'epoch', not {interval!r}.{hint}"
        raise MisconfigurationException(message) from error


def _checked_stage(stage: str) -> str:
    if stage not in _STAGES:
        message = f"`stage` must be one of {list(_STAGES)}, not {stage!r}."
        raise ValueError(message)
    return stage
