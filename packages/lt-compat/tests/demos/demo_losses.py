"""What a short training loses, batch by batch."""

from typing import Any

import torch
from torch.utils.data import DataLoader

from lt_compat.demos.boring_classes import BoringDataModule, BoringDataModuleNoLen
from lt_core import Callback, LightningModule, Trainer

Data = BoringDataModule | BoringDataModuleNoLen


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(float(outputs["loss"] if isinstance(outputs, dict) else outputs))


def losses_of(module: LightningModule, data: Data | None = None, batches: list[Any] | None = None) -> list[float]:
    """Return the losses of the first three batches of two epochs, or of the batches given in one epoch."""
    torch.set_num_threads(1)
    losses = Losses()
    trainer = Trainer(
        max_epochs=2 if batches is None else 1,
        limit_train_batches=3,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[losses],
    )
    trainer.fit(module, None if batches is None else DataLoader(batches, batch_size=None), datamodule=data)
    return losses.seen
