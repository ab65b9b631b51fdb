"""Counters of a run: they only count, and can be saved."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class FitProgress:
    """What has been trained so far. Batches here are micro-batches; steps are optimizer steps."""

    epochs_processed: int = 0
    """Epochs whose last batch (and validation) is done; ahead of `epochs_completed` while epoch-end hooks run."""
    epochs_completed: int = 0
    """Epochs that are over, hooks included; the index of the current epoch."""
    batches: int = 0
    """Micro-batches trained on in all epochs."""
    batches_in_epoch: int = 0
    """Micro-batches of the current epoch that are done: where training goes on."""
    batches_that_stepped: int = 0
    """Micro-batches that ended an optimizer step; the loggers' x-axis."""
    steps: list[int] = field(default_factory=list)
    """Steps taken by each optimizer."""
    skipped_steps: int = 0
    """Steps that weren't taken since scaled gradients had overflowed; not among `steps`."""
    is_last_batch: bool = False
    """Whether the current (or last) micro-batch is the epoch's last."""
    is_in_batch: bool = False
    """Whether a micro-batch is being worked on, and so isn't counted yet."""
    is_batch_open: bool = False
    """Whether logging, validation and schedulers after the last counted micro-batch are still to come: that's where a
    run goes on from a checkpoint that was saved in ``on_train_batch_end``."""
    last_batch_stepped: bool = False
    """Whether the last counted micro-batch ended an optimizer step."""
    validated_at: int = -1
    """The value of `batches` when validation last began inside of fitting."""

    @property
    def global_step(self) -> int:
        """Steps taken by all optimizers together.

        >>> FitProgress(steps=[3, 2]).global_step
        5
        """
        return sum(self.steps)

    def count_step(self, optimizer_idx: int) -> None:
        """Count one step of one optimizer."""
        self.steps[optimizer_idx] += 1

    def count_batch(self, *, stepped: bool) -> None:
        """Count one micro-batch as done."""
        self.batches += 1
        self.batches_in_epoch += 1
        self.batches_that_stepped += stepped
        self.last_batch_stepped = stepped
        self.is_in_batch = False
        self.is_batch_open = True

    def start_epoch(self) -> None:
        """Begin an epoch at its first batch."""
        self.batches_in_epoch = 0
        self.is_last_batch = False
        self.is_in_batch = False
        self.is_batch_open = False

    def abandon_epoch(self) -> None:
        """Forget an epoch that a failed run left unfinished."""
        self.epochs_processed = self.epochs_completed
        self.start_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned; counters unknown to this version are refused."""
        known = {counter.name for counter in fields(self)}
        unknown = sorted(set(state) - known)
        if unknown:
            message = f"Unknown counters in the saved progress: {unknown}; this version knows {sorted(known)}."
            raise ValueError(message)
        for name, value in state.items():
            setattr(self, name, list(value) if name == "steps" else value)


@dataclass
class EvaluationProgress:
    """What one evaluating stage has seen."""

    batches: int = 0
    """Batches of all runs of this stage."""
    batches_in_run: int = 0
    """Batches of the current run, over all loaders."""
    is_last_batch: bool = False
    is_running: bool = False
    """Whether a run has begun and its results aren't out yet; over when its last hook, ``on_<stage>_end``, begins."""

    def count_batch(self) -> None:
        """Count one batch as done."""
        self.batches += 1
        self.batches_in_run += 1

    def start_run(self) -> None:
        """Begin a run at its first batch."""
        self.batches_in_run = 0
        self.is_last_batch = False
