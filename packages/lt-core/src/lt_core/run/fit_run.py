"""FitRun: all that changes while fitting and must survive a resume."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lt_core.logging.metric_objects import kept_metric_states, load_metric_states, metrics_of
from lt_core.logging.recorder import Results
from lt_core.run.job import Job
from lt_core.run.loaders import StageLoaders
from lt_core.run.optimization import Optimization
from lt_core.run.requests import Requests
from lt_core.run.train_data import TrainData
from lt_core.specs.validation_schedule import ValidationSchedule
from lt_interfaces.progress import EvaluationProgress, FitProgress
from lt_interfaces.rng import capture_rng_state, restore_rng_state
from lt_interfaces.strategy import Capability


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
    batch_indices: list[list[list[int]]] = field(default_factory=list)
    """The samples of each batch predicted from so far, by loader; noted only for callbacks that write predictions."""


@dataclass
class FitValidation:
    """Validation inside of fitting: what is validated on, and when."""

    run: EvaluationRun
    schedule: ValidationSchedule
    is_wanted: bool
    """Whether there's a validation step, data for it, and a limit above zero."""
    ended_at: float = 0.0
    """Clock reading (`time.monotonic`) when an evaluation last ended, or training data was set up."""
    is_interrupted: bool = False
    """Whether the checkpoint that this run goes on from was saved in the middle of a validation."""
    _began_with: dict[str, Any] | None = None
    """The random state, the x-axes and the metric objects with which the last validation began."""

    def begin(self) -> None:
        """Note what a validation begins with; one that a checkpoint interrupted begins with the same again."""
        if self.is_interrupted and self._began_with is not None:
            restore_rng_state(self._began_with["rng"])
            if "metrics" in self._began_with:
                load_metric_states(metrics_of(self.run.job.model), self._began_with["metrics"])
            self.is_interrupted = False
        self._began_with = {
            "rng": capture_rng_state(),
            "logged_batches": list(self.run.logged_batches),
            "metrics": kept_metric_states(self.run.job.model),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the x-axes and, within a validation, what it began with."""
        if self.run.progress.is_running and self._began_with is not None:
            return {"interrupted": self._began_with}
        return {"interrupted": None, "logged_batches": list(self.run.logged_batches)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._began_with = state["interrupted"]
        self.is_interrupted = self._began_with is not None
        self.run.logged_batches[:] = (self._began_with or state)["logged_batches"]


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

    @property
    def may_save(self) -> bool:
        """Whether a checkpoint taken now can be resumed from: always, but for some strategies within a window."""
        within = self.optimization.window is not None
        return not within or self.job.runtime.strategy.supports(Capability.SAVING_IN_WINDOW)


Transfer = Callable[[Any, int], Any]
