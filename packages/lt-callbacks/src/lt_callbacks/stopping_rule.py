"""Whether a metric says to stop: a pure rule."""

from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from lt_callbacks.top_k import is_better


class EarlyStoppingReason(IntEnum):
    """Why training was stopped early."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


@dataclass(frozen=True)
class Watched:
    """What checks have shown so far, and what the last one decided."""

    best_score: Tensor
    wait_count: int = 0
    """Checks in a row without improvement."""
    reason: EarlyStoppingReason = EarlyStoppingReason.NOT_STOPPED
    message: str = ""
    """Why it stops, or how far the metric has improved; empty where there's nothing to tell."""


@dataclass(frozen=True)
class StoppingRule:
    """The limits that a metric is held against.

    >>> rule = StoppingRule("val_loss", patience=1)
    >>> watched = rule.judge(torch.tensor(1.0), Watched(best_score=torch.tensor(float("inf"))))
    >>> rule.judge(torch.tensor(1.0), watched).reason.name
    'PATIENCE_EXHAUSTED'
    """

    monitor: str
    mode: str = "min"
    min_delta: float = 0.0
    """How much better a value must be to count as improvement."""
    patience: int = 3
    """Checks without improvement that end the run."""
    check_finite: bool = True
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None

    def judge(self, current: Tensor, watched: Watched) -> Watched:
        """Return what's known after one more check.

        A value that isn't finite is judged first, then the two thresholds, then patience.
        """
        value = float(current)
        reason, message = self._judge_limits(current)
        if reason is not EarlyStoppingReason.NOT_STOPPED:
            return replace(watched, reason=reason, message=message)
        if self._improves(current, watched.best_score):
            change = abs(value - float(watched.best_score))
            message = f"`{self.monitor}` improved by {change:.3f} to {value:.3f}"
            return Watched(best_score=current, message=message)
        waited = watched.wait_count + 1
        if waited < self.patience:
            return replace(watched, wait_count=waited, message="")
        message = f"`{self.monitor}` hasn't improved in {waited} checks; the best was {float(watched.best_score):.3f}"
        return replace(watched, wait_count=waited, reason=EarlyStoppingReason.PATIENCE_EXHAUSTED, message=message)

    def _judge_limits(self, current: Tensor) -> tuple[EarlyStoppingReason, str]:
        name, value = self.monitor, float(current)
        if self.check_finite and not bool(torch.isfinite(current)):
            return EarlyStoppingReason.NON_FINITE_METRIC, f"`{name}` = {value} isn't finite"
        limit = self.stopping_threshold
        if limit is not None and is_better(current, torch.tensor(limit), self.mode):
            return EarlyStoppingReason.STOPPING_THRESHOLD, f"`{name}` = {value} passed `stopping_threshold={limit}`"
        limit = self.divergence_threshold
        if limit is not None and is_better(torch.tensor(limit), current, self.mode):
            return EarlyStoppingReason.DIVERGENCE_THRESHOLD, f"`{name}` = {value} passed `divergence_threshold={limit}`"
        return EarlyStoppingReason.NOT_STOPPED, ""

    @property
    def margin(self) -> float:
        """What a value is made worse by before it's held against the best."""
        return -self.min_delta if self.mode == "max" else self.min_delta

    def _improves(self, current: Tensor, best: Tensor) -> bool:
        return is_better(current + self.margin, best, self.mode)
