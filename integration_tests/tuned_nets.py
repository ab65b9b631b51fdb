"""Modules and data to tune, in a module that processes can import."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_callbacks import LearningRateFinder, Tuner
from lt_core import LightningModule, Trainer, seed_everything

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SEARCH: dict[str, Any] = {"min_lr": 1e-4, "max_lr": 1, "num_training": 30, "early_stop_threshold": None}


def rows() -> DataLoader[Any]:
    """Return sixteen batches of a linear problem."""
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x @ torch.tensor([[1.0], [2.0], [-1.0]])), batch_size=4)


class Linear(LightningModule):
    """Fits a plane, from the same weights each time."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.lr = lr
        self.layer = nn.Linear(3, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.constant_(self.layer.bias, 0.1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.layer(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Network(LightningModule):
    """Everything that a search could leave traces in: dropout, running statistics, moments, schedulers, shuffling."""

    def __init__(self, lr: float = 0.05, batch_size: int = 3, *, schedule: str = "decay", holds: int = 1000) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.schedule, self.holds = schedule, holds
        self.losses: list[float] = []
        self.sizes: list[int] = []

    def setup(self, stage: str) -> None:
        torch.rand(1)  # as where data is split at random

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.sizes.append(len(batch[0]))
        if len(batch[0]) > self.holds:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.OutOfMemoryError(message)
        loss = self.layers(batch[0]).square().mean()
        self.losses.append(loss.item())
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        if self.schedule == "decay":
            scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        else:
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.hparams.lr, total_steps=steps)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def train_dataloader(self) -> Any:
        data = TensorDataset(torch.randn(24, 4, generator=torch.Generator().manual_seed(0)))
        return DataLoader(data, batch_size=self.hparams.batch_size, shuffle=True, drop_last=True)


def fitted(net: Network, *callbacks: Any, **arguments: Any) -> tuple[list[float], dict[str, Tensor]]:
    """Fit a module with a new Trainer; returns the losses of this fit and the weights."""
    trainer = Trainer(callbacks=list(callbacks), **{"max_epochs": 2, **QUIET, **arguments})
    trainer.fit(net)
    return net.losses[-trainer.global_step :], net.state_dict()


def search_on_rank(strategy: str) -> dict[str, Any]:
    """Look for a learning rate on one of two ranks, by a tuner and by a callback, and train with it."""
    warnings.simplefilter("ignore")
    seed_everything(3, verbose=False)
    tuned, trainer = Network(), Trainer(devices=2, strategy=strategy, max_epochs=2, **QUIET)
    search = Tuner(trainer).lr_find(tuned, **SEARCH)
    assert search is not None
    trainer.fit(tuned)
    seed_everything(3, verbose=False)
    by_hand = Network(lr=tuned.hparams.lr)
    plain = fitted(by_hand, devices=2, strategy=strategy)
    seed_everything(3, verbose=False)
    finder = LearningRateFinder(1e-4, 1, 30, early_stop_threshold=None)
    called = fitted(Network(), finder, devices=2, strategy=strategy)
    return {
        "rates": [search.suggestion(), tuned.hparams.lr, finder.found_rate],
        "results": search.results,
        "tuned": (tuned.losses[-8:], tuned.state_dict()),
        "by hand": plain,
        "by callback": called,
    }
