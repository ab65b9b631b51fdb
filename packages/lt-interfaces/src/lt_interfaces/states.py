"""What a run is doing: function, stage, status.

The enums compare equal to plain strings, whatever their case: ``TrainerFn.FITTING == "fit"``. Members are singletons,
so code that runs once per step compares with ``is``.
"""

from dataclasses import dataclass

from lightning_utilities.core.enums import StrEnum


class TrainerStatus(StrEnum):
    """How far the current run has come."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"

    @property
    def stopped(self) -> bool:
        """Whether the run is over, well or badly."""
        return self is TrainerStatus.FINISHED or self is TrainerStatus.INTERRUPTED


class TrainerFn(StrEnum):
    """Which entry point the user called; also the ``stage`` that ``setup`` and ``teardown`` hooks receive."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"


class RunningStage(StrEnum):
    """Which loop is running; during ``fit`` it alternates between training and validation."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    @property
    def evaluating(self) -> bool:
        """Whether this is validation (the sanity check included) or test."""
        return self in (RunningStage.SANITY_CHECKING, RunningStage.VALIDATING, RunningStage.TESTING)

    @property
    def dataloader_prefix(self) -> str:
        """The word before ``_dataloader``: ``"val"`` for validation and the sanity check, else the stage's value."""
        if self in (RunningStage.SANITY_CHECKING, RunningStage.VALIDATING):
            return "val"
        return str(self.value)


@dataclass
class TrainerState:
    """Status, function and stage of the latest run.

    After a run, ``stage`` is None and ``fn`` still says what ran.

    >>> TrainerState(status=TrainerStatus.FINISHED, fn=TrainerFn.FITTING).stopped
    True
    """

    status: TrainerStatus = TrainerStatus.INITIALIZING
    fn: TrainerFn | None = None
    stage: RunningStage | None = None

    @property
    def finished(self) -> bool:
        """Whether the run came to its regular end."""
        return self.status is TrainerStatus.FINISHED

    @property
    def interrupted(self) -> bool:
        """Whether an exception or a signal ended the run."""
        return self.status is TrainerStatus.INTERRUPTED

    @property
    def stopped(self) -> bool:
        """Whether the run is over, well or badly."""
        return self.status.stopped

    @property
    def evaluating(self) -> bool:
        """Whether validation (the sanity check included) or test is running right now."""
        return self.stage is not None and self.stage.evaluating
