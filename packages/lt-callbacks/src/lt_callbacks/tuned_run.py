"""The Trainer as tuners see it."""

from typing import Any, Protocol

from lt_callbacks.run import Run
from lt_interfaces.rank_zero import rank_zero_info
from lt_interfaces.trainer_view import TrialControl


class TunedRun(Run, TrialControl, Protocol):
    """A run in which settings can be tried: what a tuner's hooks get as ``trainer``."""

    @property
    def datamodule(self) -> Any:
        """The datamodule of the call, or ``None``."""

    @property
    def train_dataloader(self) -> Any:
        """The training loaders as they were given; within a trial those of the trial."""


def is_quick_trial(trainer: Run, what: str) -> bool:
    """Say whether the run only tries the code, where nothing is tuned; tells so."""
    if trainer.fast_dev_run:
        rank_zero_info(f"`fast_dev_run` is on, so {what} isn't looked for.")
    return bool(trainer.fast_dev_run)
