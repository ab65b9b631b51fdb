"""A small module, and trainers that run in a second, alone or as two processes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer


class Line(LightningModule):
    """Fits a line; 4 batches."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = (self.layer(batch) - 3 * batch).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", (self.layer(batch) - 3 * batch).square().mean(), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.linspace(-1, 1, 8).reshape(8, 1), batch_size=2)

    val_dataloader = train_dataloader


def trainer(folder: Path, **arguments: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    defaults = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "log_every_n_steps": 1}
    return Trainer(default_root_dir=folder, **{**quiet, **defaults, **arguments})


EXPECTED_STEPS = [0, 1, 2, 3]
"""Where the steps of one epoch go on the x-axis."""
