"""``trainer.fit_loop`` and its like: limits that users change between two fits, and where a run stands.

Code written for Lightning reads counters from the Trainer's loops. Here loops are functions, and what they count is in
`FitProgress`; these views show it under Lightning's names, for reading alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Protocol

from lt_core.specs import LimitsSpec, TrainerSpecs, trainer_specs
from lt_interfaces.progress import FitProgress


class HasLimits(Protocol):
    """A Trainer, as far as its limits go."""

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs."""

    @property
    def max_steps(self) -> int:
        """The limit in optimizer steps."""


class FitLoop:
    """The limits of the next `Trainer.fit`, to be read and set, and the counters of the current or last one."""

    def __init__(self, trainer: HasLimits, change: Callable[..., None], progress: FitProgress) -> None:
        self._trainer = trainer
        self._change = change
        self._progress = progress

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs; -1: none."""
        return self._trainer.max_epochs

    @max_epochs.setter
    def max_epochs(self, value: int | None) -> None:
        self._change(max_epochs=value)

    @property
    def max_steps(self) -> int:
        """The limit in optimizer steps; -1: none."""
        return self._trainer.max_steps

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._change(max_steps=value)

    @property
    def epoch_progress(self) -> "Counters":
        """Epochs ``ready``, ``started``, ``processed`` and ``completed``, in ``current`` and ``total``."""
        progress = self._progress
        is_within = progress.batches_in_epoch > 0 or progress.is_in_batch
        started = max(progress.epochs_processed, progress.epochs_completed + is_within)
        return _counters(started, progress.epochs_processed, progress.epochs_completed)

    @property
    def epoch_loop(self) -> "EpochLoop":
        """Where the current epoch stands."""
        return EpochLoop(self._progress)

    @property
    def batch_idx(self) -> int:
        """The micro-batch of the epoch that is or was trained on last; -1 before the first."""
        return self.epoch_loop.batch_idx

    @property
    def total_batch_idx(self) -> int:
        """The same, counted over all epochs."""
        return self.epoch_loop.total_batch_idx


@dataclass(frozen=True)
class EpochLoop:
    """Counters of micro-batches and steps."""

    _progress: FitProgress

    @property
    def global_step(self) -> int:
        """Optimizer steps of all optimizers."""
        return self._progress.global_step

    @property
    def batch_idx(self) -> int:
        """The micro-batch of the epoch that is or was trained on last; -1 before the first."""
        return self._progress.batches_in_epoch + self._progress.is_in_batch - 1

    @property
    def total_batch_idx(self) -> int:
        """The same, counted over all epochs."""
        return self._progress.batches + self._progress.is_in_batch - 1

    @property
    def batch_progress(self) -> "Counters":
        """Counters of micro-batches, as `FitLoop.epoch_progress` has them of epochs; and ``is_last_batch``."""
        progress = self._progress
        ending, both = progress.is_batch_open, {}
        for name, count in (("current", progress.batches_in_epoch), ("total", progress.batches)):
            both[name] = getattr(_counters(count + progress.is_in_batch, count, count - ending), name)
        return Counters(**both, is_last_batch=progress.is_last_batch)

    @property
    def _batches_that_stepped(self) -> int:
        """Micro-batches that ended a step: the loggers' x-axis, which code of others reads here for want of a name."""
        progress = self._progress
        return progress.batches_that_stepped - (progress.is_batch_open and progress.last_batch_stepped)


@dataclass(frozen=True)
class PredictLoop:
    """Which samples are being predicted from, where a callback writes predictions."""

    epoch_batch_indices: list[list[list[int]]]
    """The samples of each batch so far, by loader; empty where nobody writes predictions by epoch."""

    @property
    def current_batch_indices(self) -> list[int]:
        """The samples of the last batch."""
        return next((batches[-1] for batches in reversed(self.epoch_batch_indices) if batches), [])


class Counters(SimpleNamespace):
    """Counts by name, for reading alone."""

    def __setattr__(self, name: str, value: Any) -> None:
        message = (
            f"`{name}` shows where the run stands and can't be assigned. To begin elsewhere resume from a checkpoint:"
            " `fit(..., ckpt_path=...)`."
        )
        raise AttributeError(message)


def _counters(started: int, processed: int, completed: int) -> Counters:
    counts = {"ready": started, "started": started, "processed": processed, "completed": completed}
    return Counters(current=Counters(**counts), total=Counters(**counts))


def changed_limits(limits: LimitsSpec, **changes: Any) -> LimitsSpec:
    """Return the limits with some changed, checked like the Trainer's arguments of the same names."""
    checked = trainer_specs(**changes).limits
    return replace(limits, **{name: getattr(checked, name) for name in changes})


def with_accumulation(specs: TrainerSpecs, micro_batches: int) -> TrainerSpecs:
    """Return the specs with another number of micro-batches per step, checked like the Trainer's argument."""
    checked = trainer_specs(accumulate_grad_batches=micro_batches).optimization.accumulate_grad_batches
    return replace(specs, optimization=replace(specs.optimization, accumulate_grad_batches=checked))
