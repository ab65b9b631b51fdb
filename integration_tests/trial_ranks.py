"""Training on two ranks, with or without a trial before."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_core import LightningModule, Trainer, seed_everything
from lt_interfaces import Callback


def train(strategy: str, precision: str) -> dict[bool, Any]:
    """Train with and without a trial; returns the losses of the trial and of training, and the weights at the end."""
    return {tries: _trained(strategy, precision, tries=tries) for tries in (False, True)}


def _trained(strategy: str, precision: str, *, tries: bool) -> tuple[list[float], list[float], list[list[float]]]:
    seed_everything(5, verbose=False)
    net, trying = Net(), Trying()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        precision=precision,
        max_epochs=1,
        callbacks=[trying] if tries else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, DataLoader(TensorDataset(torch.randn(24, 6)), batch_size=3, shuffle=True))
    return trying.losses, net.losses[len(trying.losses) :], net.trained


class Net(LightningModule):
    """Two layers with dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.losses: list[float] = []
        self.trained: list[list[float]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.layers(batch[0]).square().mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)

    def on_train_end(self) -> None:
        # this rank's part, where parameters are sharded
        parts = [getattr(parameter, "_local_tensor", parameter) for parameter in self.parameters()]
        self.trained = [part.detach().flatten().tolist() for part in parts]


class Trying(Callback):
    """Tries three steps with a learning rate that would spoil everything."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        with trainer.trial_run(3) as losses:
            for loss in losses:
                self.losses.append(loss.item())
                trainer.optimizers[0].param_groups[0]["lr"] = 10.0
