"""The contract of a datamodule: where a run's data comes from."""

from typing import Any, Protocol

import torch


class DataModule(Protocol):
    """Makes the loaders of every stage; recognised by its methods.

    `prepare_data` runs once per node (or once per job, `prepare_data_per_node`) and sets no state; `setup` runs in
    every process at every entry point; a loader method is called when its stage needs it. The transfer hooks, if
    overridden, win over the module's.
    """

    prepare_data_per_node: bool
    allow_zero_length_dataloader_with_multiple_devices: bool
    trainer: Any

    def prepare_data(self) -> None:
        """Download or convert; on local rank 0, other ranks wait."""

    def setup(self, stage: str) -> None:
        """Make datasets for the stage "fit", "validate", "test" or "predict"; on every rank."""

    def teardown(self, stage: str) -> None:
        """Clean up after the stage, also after a failure; on every rank."""

    def train_dataloader(self) -> Any:
        """Return one loader or a nested collection of loaders for training."""

    def val_dataloader(self) -> Any:
        """Return one or several loaders for validation."""

    def test_dataloader(self) -> Any:
        """Return one or several loaders for testing."""

    def predict_dataloader(self) -> Any:
        """Return one or several loaders to predict from."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    def on_exception(self, exception: BaseException) -> None:
        """Hear that the run was interrupted."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it's moved."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch after it was moved."""
