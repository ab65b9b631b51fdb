"""The contract of a callback: every hook of the table as a no-op, state, and an optional role."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from lt_interfaces.roles import Role


class Callback:
    """Something that listens to a run without being part of the model: override the hooks you need.

    Hooks are called on every rank, before the module's hook of the same name, in the order of ``Trainer.callbacks``
    (tuners first, checkpoints last). A hook gets the Trainer (which satisfies `TrainerView` and `RunControl`) and the
    module; both are typed ``Any`` here so that an override may name the exact class it wants. What must survive a
    resume goes through `state_dict`. A callback never sets attributes on the trainer: it asks (`request_stop`,
    `save_checkpoint`, ...).

    Example::

        class PrintLearningRate(Callback):
            def on_train_epoch_start(self, trainer, pl_module):
                print(trainer.optimizers[0].param_groups[0]["lr"])
    """

    role: ClassVar[Role | None] = None
    """What it is to the Trainer (ordering, "only one bar", ``ckpt_path="best"``); ``None`` for most."""

    @property
    def state_key(self) -> str:
        """The key of its state in a checkpoint; two callbacks with state must not share one."""
        return type(self).__qualname__

    def _generate_state_key(self, **kwargs: Any) -> str:
        """Return a state key that tells instances of one class apart by what they do."""
        return f"{type(self).__qualname__}{kwargs!r}"

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs; plain values and tensors only. Called when a checkpoint is saved."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned. Called after `setup`, before training goes on."""

    def __getstate__(self) -> dict[str, Any]:
        # Bound to a run's module; a copy of the callback belongs to no run.
        return {name: value for name, value in vars(self).items() if name not in ("log", "log_dict")}

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Record a metric from within a hook; arguments as in ``LightningModule.log``, to which a run binds it.

        Raises:
            RuntimeError: outside of a run.
        """
        message = f"`{type(self).__name__}.log` was called outside of a run, where there's nothing to log to."
        raise RuntimeError(message)

    def log_dict(self, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Record several metrics from within a hook; bound like `log`."""
        for name, value in dictionary.items():
            self.log(name, value, *args, **kwargs)

    # --- the run ---

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Before anything else of an entry point; ``stage`` is "fit", "validate", "test" or "predict"."""

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """When an entry point ends, also after a failure."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """When fitting starts, after optimizers exist."""

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """When fitting ends."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """When the run is interrupted by an exception."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """When a checkpoint is about to be written; may add keys."""

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Mapping[str, Any]) -> None:
        """When a checkpoint was read; the module's weights are loaded already."""

    # --- sanity check ---

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Before a few validation batches are tried."""

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """After a few validation batches were tried."""

    # --- training ---

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first training epoch of this call."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """After the last training epoch of this call."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first batch of an epoch."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """After the last batch of an epoch and its validation."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Before a batch, when it's on the device."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a batch; ``outputs`` is what the training step returned, detached."""

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Before gradients are cleared."""

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Before gradients are computed."""

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """After gradients were computed; under a loss scaler they're still scaled."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Before parameters are updated; gradients are final, but not yet clipped."""

    # --- validation ---

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Before validation."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """After validation."""

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first validation batch."""

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """After the last validation batch."""

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a validation batch."""

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """After a validation batch."""

    # --- test ---

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Before testing."""

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """After testing."""

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first test batch."""

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """After the last test batch."""

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a test batch."""

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """After a test batch."""

    # --- predict ---

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Before predicting."""

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """After predicting."""

    def on_predict_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first batch to predict."""

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """After the last batch to predict."""

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before a batch to predict."""

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """After a predicted batch."""
