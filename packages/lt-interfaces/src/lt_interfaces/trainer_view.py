"""What callbacks and loggers may see of a run, and what they may ask of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from lt_interfaces.logger import Logger
from lt_interfaces.scheduling import LRSchedulerConfig
from lt_interfaces.states import TrainerState


class TrainerView(Protocol):
    """Reads a run: progress, metrics, optimizers, loggers, ranks.

    Reading never costs a collective or a host sync, except where said.
    """

    # --- stage ---

    @property
    def state(self) -> TrainerState:
        """Status, entry point and stage."""

    @property
    def training(self) -> bool:
        """Whether it's training now."""

    @property
    def validating(self) -> bool:
        """Whether it's validating now (not in the sanity check)."""

    @property
    def testing(self) -> bool:
        """Whether it's testing now."""

    @property
    def predicting(self) -> bool:
        """Whether it's predicting now."""

    @property
    def sanity_checking(self) -> bool:
        """Whether it's in the sanity check."""

    @property
    def fast_dev_run(self) -> int | bool:
        """The number of batches of a quick trial of the code, or a false value."""

    @property
    def should_stop(self) -> bool:
        """Whether somebody has asked to stop."""

    # --- progress ---

    @property
    def current_epoch(self) -> int:
        """Epochs completed, i.e. the index of the current one."""

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs; -1: none."""

    @property
    def min_epochs(self) -> int | None:
        """Epochs that a stop request waits for."""

    @property
    def max_steps(self) -> int:
        """The limit in optimizer steps; -1: none."""

    @property
    def min_steps(self) -> int | None:
        """Optimizer steps that a stop request waits for."""

    @property
    def is_last_batch(self) -> bool:
        """Whether the current training batch is the epoch's last."""

    @property
    def num_training_batches(self) -> int | float:
        """Batches per epoch on this rank; infinite when unknown."""

    @property
    def num_val_batches(self) -> list[int | float]:
        """Batches of each validation loader."""

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches of each validation loader in the sanity check."""

    @property
    def num_test_batches(self) -> list[int | float]:
        """Batches of each test loader."""

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Batches of each predict loader."""

    @property
    def accumulate_grad_batches(self) -> int:
        """Micro-batches per optimizer step."""

    @property
    def enable_validation(self) -> bool:
        """Whether fitting validates at all."""

    @property
    def val_check_interval(self) -> Any:
        """How often validation runs, as given (resolved default 1.0)."""

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """In which epochs validation runs."""

    # --- metrics and loggers ---

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Current values for decisions; local to this rank between flushes (see `reduced`)."""

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Values last sent to loggers."""

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """Values for the progress bar; a host sync."""

    @property
    def loggers(self) -> list[Logger]:
        """The run's loggers."""

    @property
    def log_every_n_steps(self) -> int:
        """Training batches between flushes."""

    @property
    def logging_is_due(self) -> bool:
        """Whether step values will be sent to loggers after the current batch."""

    @property
    def log_dir(self) -> str | None:
        """The folder of this run. Not collective."""

    @property
    def default_root_dir(self) -> str:
        """The folder used where nothing else is given."""

    @property
    def ckpt_path(self) -> str | PathLike[str] | None:
        """The checkpoint this run was resumed from."""

    # --- optimization ---

    @property
    def lightning_module(self) -> Any:
        """The user's module."""

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers being stepped."""

    @property
    def lr_scheduler_configs(self) -> list[LRSchedulerConfig]:
        """The schedulers with their intervals."""

    # --- ranks ---

    @property
    def world_size(self) -> int:
        """Processes of the job."""

    @property
    def global_rank(self) -> int:
        """This process in the job."""

    @property
    def local_rank(self) -> int:
        """This process on its node."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0 of the job."""

    def agree(self, decision: bool, *, all_ranks: bool = True) -> bool:
        """Return whether all ranks (or, with ``all_ranks=False``, any rank) decided so. Collective."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of rank ``src``. Collective."""

    def reduced(self, key: str) -> Tensor | None:
        """Return the current value of a callback metric over all ranks, ``None`` if nothing has that name.

        Collective: every rank must ask at the same time. What a callback decides on, it asks for here.
        """


class RunControl(Protocol):
    """Asks a run for something; honoured at the next step boundary unless it says otherwise."""

    def request_stop(self, reason: str = "") -> None:
        """Ask to stop after the current batch (``min_epochs`` and ``min_steps`` are waited for)."""

    def request_save(self, path: str | PathLike[str]) -> None:
        """Ask for a checkpoint at the next step boundary; may be called from a signal handler or a thread."""

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool | None = None, storage_options: Any | None = None
    ) -> None:
        """Save a checkpoint now. Collective."""

    def remove_checkpoint(self, filepath: str | PathLike[str]) -> None:
        """Remove a checkpoint, on rank 0, after pending saves."""

    def has_checkpoint(self, filepath: str | PathLike[str]) -> bool:
        """Say whether a whole checkpoint is there, on disk or in a remote store."""

    def set_accumulation(self, micro_batches: int) -> None:
        """Change the number of micro-batches per optimizer step, from the next window on."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send metrics to every logger now, and make them visible in `callback_metrics`.

        Args:
            metrics: Python numbers by name.
            step: the x-axis; ``None``: where training metrics stand now.
        """


class TrialControl(Protocol):
    """Asks a run to try something and go back: for callbacks that tune, average weights or undo a spike."""

    def trial_run(self, steps: int) -> AbstractContextManager[Iterator[Tensor]]:
        """Return a context that gives an iterator which trains, without the callbacks and loggers hearing of it.

        Each ``next`` takes one optimizer step (the last micro-batch of a window) and returns the loss that the training
        step gave last: of this rank, a 0-d tensor on its device; NaN where a step in manual optimization returns none.
        The loaders are asked for anew. When the context ends, module, optimizers, precision and random states are as
        before, also after an exception. With several ranks: collective, like training. Called in ``on_fit_start`` or
        later.

        Args:
            steps: after how many optimizer steps the iterator ends.

        Raises:
            MisconfigurationException: the strategy doesn't support `Capability.TRIAL_RUN`.
        """

    def weights_swapped(self, source: Iterable[Tensor]) -> AbstractContextManager[None]:
        """Return a context in which the module's parameters hold other values (e.g. averaged ones).

        Args:
            source: one tensor per parameter, in the order of ``parameters()``.
        """

    def rollback(self, path: str | PathLike[str], skip: Sequence[int] = ()) -> None:
        """Ask to go back to a checkpoint at the next step boundary, leaving out some batches afterwards.

        Args:
            path: a checkpoint of this run.
            skip: indices of batches (in the epoch) that won't be trained on again.
        """
