"""When training is interrupted for validation: a pure rule of where training stands."""

import math
from dataclasses import dataclass
from datetime import timedelta

from lt_core.specs.evaluation import EvaluationSpec
from lt_fabric.argument_checks import refusal
from lt_interfaces.errors import MisconfigurationException


@dataclass(frozen=True, slots=True)
class ValidationSchedule:
    """Decides after each training batch whether validation is due; made by `plan_validation`.

    >>> every_third = ValidationSchedule(every_n_epochs=1, every_n_batches=3, interval_seconds=None)
    >>> [i for i in range(10) if every_third.is_due(0, i, total_batch_idx=i, is_last_batch=i == 9, stopping=False)]
    [2, 5, 8]
    """

    every_n_epochs: int | None
    """``None``: every epoch, and batches are counted across epochs."""

    every_n_batches: int | float
    """``math.inf``: after the last batch of an epoch, wherever that is."""

    interval_seconds: float | None
    """Replaces the count of batches when set."""

    def covers_epoch(self, epoch: int) -> bool:
        """Say whether validation may run in this epoch at all, counted from 0."""
        return self.every_n_epochs is None or (epoch + 1) % self.every_n_epochs == 0

    def is_due(
        self,
        epoch: int,
        batch_idx: int,
        *,
        total_batch_idx: int,
        is_last_batch: bool,
        stopping: bool,
        seconds_since_validation: float = 0.0,
    ) -> bool:
        """Say whether validation is due after a batch.

        Args:
            epoch: counted from 0.
            batch_idx: of the batch just done, within the epoch.
            total_batch_idx: of the batch just done, across epochs.
            is_last_batch: whether the epoch ends after this batch.
            stopping: whether a stop was requested and is granted now; then one last validation runs.
            seconds_since_validation: since evaluation last ended, or since the training data was set up.
        """
        if not self.covers_epoch(epoch):
            return False
        if stopping:
            return True
        if self.interval_seconds is not None:
            return seconds_since_validation >= self.interval_seconds
        if self.every_n_batches == math.inf:
            return is_last_batch
        batches_done = 1 + (total_batch_idx if self.every_n_epochs is None else batch_idx)
        return batches_done % self.every_n_batches == 0


def plan_validation(
    spec: EvaluationSpec,
    num_training_batches: int | float,
    *,
    has_length: bool,
    has_validation: bool = True,
) -> ValidationSchedule:
    """Make the schedule of a run, once its training data is there.

    Args:
        spec: what the user asked for.
        num_training_batches: batches per epoch after all limits; ``math.inf`` where that is unknown.
        has_length: whether the training loader knows its length. Without, a limit may promise more than it gives.
        has_validation: whether there is anything to validate; if not, an interval that's too long does no harm.

    Raises:
        ValueError: when validation would never run because the interval is longer than an epoch.
        MisconfigurationException: for a fraction of an epoch of unknown length.
    """
    interval = spec.val_check_interval
    epochs = spec.check_val_every_n_epoch
    if isinstance(interval, timedelta):
        return ValidationSchedule(epochs, math.inf, interval.total_seconds())
    if isinstance(interval, float):
        return ValidationSchedule(
            epochs, _fraction_of_epoch(interval, num_training_batches, has_length=has_length), None
        )
    if interval > num_training_batches and epochs is not None and has_validation:
        accepted = f"at most the number of training batches, {num_training_batches}"
        hint = " To count batches across epochs set `check_val_every_n_epoch=None`."
        message = refusal("val_check_interval", interval, accepted=accepted, hint=hint)
        raise ValueError(message)
    return ValidationSchedule(epochs, interval, None)


def _fraction_of_epoch(fraction: float, num_training_batches: int | float, *, has_length: bool) -> int | float:
    if has_length and num_training_batches != math.inf:
        return max(1, int(num_training_batches * fraction))
    if fraction == 1:
        return math.inf
    message = refusal(
        "val_check_interval",
        fraction,
        accepted="1.0, a number of batches or a duration where the training data has no length",
    )
    raise MisconfigurationException(message)
