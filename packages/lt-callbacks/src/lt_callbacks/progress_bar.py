"""The base of progress bars."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lt_callbacks.run import Run
from lt_interfaces.callback import Callback
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.roles import Role


class ProgressBar(Callback):
    r"""Base of progress bars: subclass it and override the hooks that tell you of batches.

    The Trainer has at most one, enabled on rank 0 alone. A bar that keeps for itself whether it's enabled assigns
    `is_enabled` or overrides `enable` and `disable`.

    Example::

        class Percent(ProgressBar):
            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                if self.is_enabled:
                    print(f"{100 * (batch_idx + 1) / self.total_train_batches:.0f} %", end="\r")
    """

    role: ClassVar[Role | None] = Role.PROGRESS

    sanity_check_description: str = "Sanity Checking"
    train_description: str = "Training"
    validation_description: str = "Validation"
    test_description: str = "Testing"
    predict_description: str = "Predicting"
    """What stands before a bar, one for each stage; a subclass may have properties in their place."""

    _is_enabled: bool = True
    _trainer: Run | None = None
    _evaluated_loader: int | None = None
    # On the class, since bars of users don't all call `super().__init__()`.

    def __init__(self) -> None:
        """Nothing is to be given."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the run out: pickled or copied, the bar is one that no run has begun with."""
        return {name: value for name, value in vars(self).items() if name != "_trainer"}

    @property
    def trainer(self) -> Run:
        """The run that's shown.

        Raises:
            TypeError: no run has begun.
        """
        if self._trainer is None:
            message = f"`{type(self).__name__}.trainer` is known once a run has begun: from `setup` on."
            raise TypeError(message)
        return self._trainer

    @property
    def is_enabled(self) -> bool:
        """Whether it shows anything."""
        return self._is_enabled

    @is_enabled.setter
    def is_enabled(self, enabled: bool) -> None:
        self._is_enabled = enabled

    @property
    def is_disabled(self) -> bool:
        """Whether it shows nothing."""
        return not self.is_enabled

    def enable(self) -> None:
        """Show progress on this rank."""
        self._is_enabled = True

    def disable(self) -> None:
        """Show nothing on this rank."""
        self._is_enabled = False

    @property
    def total_train_batches(self) -> int | float:
        """Batches of a training epoch, infinite where the loader doesn't know."""
        return self.trainer.num_training_batches

    @property
    def total_val_batches(self) -> int | float:
        """Batches of all validation loaders, 0 in epochs that end without validation."""
        trainer, every = self.trainer, self.trainer.check_val_every_n_epoch
        is_due = every is None or (trainer.current_epoch + 1) % every == 0
        return sum(trainer.num_val_batches) if is_due else 0

    @property
    def total_val_batches_current_dataloader(self) -> int | float:
        """Batches of the validation loader that `has_dataloader_changed` was last told of; so for the next two."""
        sanity = self.trainer.sanity_checking
        return self._of_loader(self.trainer.num_sanity_val_batches if sanity else self.trainer.num_val_batches)

    @property
    def total_test_batches_current_dataloader(self) -> int | float:
        """Batches of the current test loader."""
        return self._of_loader(self.trainer.num_test_batches)

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """Batches of the current loader that's predicted."""
        return self._of_loader(self.trainer.num_predict_batches)

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Take the current loader of an evaluation, and say whether it's another than before."""
        has_changed = dataloader_idx != self._evaluated_loader
        self._evaluated_loader = dataloader_idx
        return has_changed

    def reset_dataloader_idx_tracker(self) -> None:
        """Forget which loader was evaluated last."""
        self._evaluated_loader = None

    def _of_loader(self, batches: Sequence[int | float]) -> int | float:
        """Return the current loader's number, infinite when unknown."""
        loader = self._evaluated_loader or 0
        return batches[loader] if loader < len(batches) else math.inf

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar, as the built-in ``print`` does."""
        print(*args, **{"file": sys.stdout, **kwargs})  # noqa: T201  # it's what this method is for

    def get_metrics(self, trainer: Run, pl_module: Any) -> Mapping[str, Any]:
        """Return what stands beside the counts: the logger's version as ``v_num``, and what was logged for the bar.

        Reading the metrics waits for the device. Override it to hide or add something.
        """
        standard = _version(trainer)
        logged = trainer.progress_bar_metrics
        for name in standard.keys() & logged.keys():
            rank_zero_warn(f"The metric `{name}` was logged with `prog_bar=True` and hides the bar's own value.")
        return {**standard, **logged}

    def setup(self, trainer: Run, pl_module: Any, stage: str) -> None:
        self._trainer = trainer
        if not trainer.is_global_zero:
            self.disable()


def _version(trainer: Run) -> dict[str, int | str]:
    """Return the first logger's version, a long name cut to its end."""
    version = trainer.loggers[0].version if trainer.loggers else None
    if version is None:
        return {}
    return {"v_num": version[-4:] if isinstance(version, str) else version}
