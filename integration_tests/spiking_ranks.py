"""A training of two ranks whose loss spikes on one of them, in a module that processes can import."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import SpikeDetection, ThroughputMonitor
from lt_core import LightningModule, Trainer
from lt_interfaces.loss_spikes import TrainingSpikeException
from lt_strategies.failure.record import PeerFailure


class Net(LightningModule):
    """Its loss jumps at batch 3 of rank 1."""

    flops_per_batch = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        nothing: Tensor = self.layer(batch[:, None]).sum() * 0
        return nothing + (100.0 if batch_idx == 3 and self.global_rank == 1 else 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(folder: str) -> dict[str, Any]:
    """Train until the spike; return what this rank knows afterwards."""
    warnings.simplefilter("ignore")
    detection = SpikeDetection()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        logger=False,
        log_every_n_steps=1,
        callbacks=[detection, ThroughputMonitor(len, window_size=2)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    failure = None
    try:
        trainer.fit(Net(), DataLoader(torch.ones(16)))  # type: ignore[arg-type]  # a tensor is a dataset
    except (TrainingSpikeException, PeerFailure) as ended:
        failure = type(ended).__name__
    rates = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {"failure": failure, "step": trainer.global_step, "bad_batches": detection.bad_batches, "rates": rates}
