"""At which of the two ends, validation's or the training epoch's, a callback looks at its metric."""

from collections.abc import Sequence
from typing import Any, Protocol


class EvaluationPlan(Protocol):
    """What a run tells of its validation."""

    @property
    def enable_validation(self) -> bool:
        """Whether fitting validates at all."""

    @property
    def num_val_batches(self) -> Sequence[int | float]:
        """Batches of each validation loader; empty until the loaders exist."""

    @property
    def val_check_interval(self) -> Any:
        """How often validation runs."""

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """In which epochs validation runs."""

    @property
    def current_epoch(self) -> int:
        """The index of the current epoch."""


def decides_at_train_epoch_end(plan: EvaluationPlan, setting: bool | None) -> bool:
    """Whether to look at the metric when the training epoch ends, rather than after each validation.

    What the user set wins. Otherwise: yes without validation, and yes if validation runs exactly once at the end of
    each epoch (the epoch's end comes after it, so that its values are fresh).
    """
    if setting is not None:
        return setting
    if not _validates(plan):
        return True
    interval = plan.val_check_interval
    return plan.check_val_every_n_epoch == 1 and isinstance(interval, float) and interval == 1.0


def validation_may_follow(plan: EvaluationPlan) -> bool:
    """Whether validation may still run after the last batch of the current epoch."""
    every = plan.check_val_every_n_epoch
    return _validates(plan) and (every is None or (plan.current_epoch + 1) % every == 0)


def _validates(plan: EvaluationPlan) -> bool:
    batches = plan.num_val_batches
    return plan.enable_validation and (not batches or sum(batches) > 0)
