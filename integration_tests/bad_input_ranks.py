"""Mistakes that show on several ranks only, in a module that processes can import."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer


class Net(LightningModule):
    """Does on rank 1 what it's told to."""

    def __init__(self, mistake: str) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.mistake = mistake

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor | None:
        loss = self.layer(batch[:, None]).square().mean()
        if self.global_rank == 1 and self.mistake == "no loss" and batch_idx == 1:
            return None
        self.log(self.mistake if self.global_rank == 1 else "loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(mistake: str) -> str:
    """Train until the mistake shows; return what this rank raises."""
    warnings.simplefilter("ignore")
    try:
        new_trainer().fit(Net(mistake), DataLoader(torch.ones(16), batch_size=2))  # type: ignore[arg-type]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "trained"


def new_trainer(**arguments: Any) -> Trainer:
    """Return a trainer of two ranks that does nothing but train."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    chosen = {"devices": 2, "strategy": "ddp", "max_epochs": 1, "enable_model_summary": False} | quiet | arguments
    return Trainer(accelerator="cpu", **chosen)  # type: ignore[arg-type]
