"""FitRun: all that changes while fitting and must survive a resume."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lt_core.logging.recorder import Results
from lt_core.run.job import Job
from lt_core.run.loaders import StageLoaders, TrainData
from lt_core.run.optimization import Optimization
from lt_core.run.requests import Requests
from lt_core.specs.validation_schedule import ValidationSchedule
from lt_interfaces.progress import EvaluationProgress, FitProgress


class BatchStep(Protocol):
    """How a batch is trained on: automatic or manual optimization."""

    stepped: bool
    """Whether the last batch ended in an optimizer step (for manual optimization: always)."""

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        """Train on a batch and return what the training step returned, detached."""


@dataclass
class EvaluationRun:
    """One evaluating or predicting stage, alone or inside of fitting."""

    job: Job
    loaders: StageLoaders
    progress: EvaluationProgress
    results: Results
    logged_batches: list[int]
    """Batches seen by each loader in all runs of this stage: the x-axis of what's logged per evaluation batch."""


@dataclass
class FitValidation:
    """Validation inside of fitting: what is validated on, and when."""

    run: EvaluationRun
    schedule: ValidationSchedule
    is_wanted: bool
    """Whether there's a validation step, data for it, and a limit above zero."""
    ended_at: float = 0.0
    """Clock reading (`time.monotonic`) when an evaluation last ended, or training data was set up."""


@dataclass
class FitRun:
    """The state of one fit; loop functions take it whole, everything else takes the field it needs."""

    job: Job
    progress: FitProgress
    data: TrainData
    validation: FitValidation
    optimization: Optimization
    results: Results
    requests: Requests
    train_on: BatchStep


Transfer = Callable[[Any, int], Any]
