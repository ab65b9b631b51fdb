"""Roles of callbacks: how the Trainer knows its own kinds without importing them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

from lightning_utilities.core.enums import StrEnum


class Role(StrEnum):
    """What a callback is to the Trainer; said by its class attribute ``role``."""

    CHECKPOINT = "checkpoint"
    PROGRESS = "progress"
    STOP = "stop"
    SUMMARY = "summary"
    TUNER = "tuner"
    TIMER = "timer"


class CheckpointRole(Protocol):
    """A callback that writes checkpoints: runs last, answers ``ckpt_path="best"`` and ``"last"``.

    Others only read these; whether they're plain attributes or properties is the callback's own affair.
    """

    @property
    def best_model_path(self) -> str:
        """The best checkpoint so far, an empty string before there's one."""

    @property
    def last_model_path(self) -> str:
        """The newest checkpoint kept as "last", an empty string before there's one."""

    @property
    def dirpath(self) -> Any:
        """The folder of the checkpoints: a path or a URL; ``None`` before it's settled."""


class ProgressRole(Protocol):
    """The one progress bar: `LightningModule.print` writes through it."""

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""

    def get_metrics(self, trainer: Any, pl_module: Any) -> Mapping[str, Any]:
        """Return what the bar shows beside the counts."""


class StopRole(Protocol):
    """A callback that decides on a metric whether to stop; runs after the module at the end of an epoch."""

    stopped_epoch: int


class SummaryRole(Protocol):
    """The one callback that prints a summary of the module when fitting starts."""

    def summarize(self, trainer: Any, pl_module: Any) -> None:
        """Print the summary."""


class TunerRole(Protocol):
    """A callback that tries settings before training; runs first."""

    def tune(self, trainer: Any, pl_module: Any) -> None:
        """Try settings and apply the best."""


class TimerRole(Protocol):
    """A callback that bounds a run's time; one given by the user replaces ``max_time``."""

    def time_elapsed(self, stage: str = "train") -> float:
        """Return the seconds spent in a stage."""

    def time_remaining(self, stage: str = "train") -> float | None:
        """Return the seconds left, ``None`` without a limit."""

    def set_duration(self, duration: str | timedelta | Mapping[str, int] | None) -> None:
        """Bound the run's time."""
