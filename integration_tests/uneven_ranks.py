"""Ranks with different amounts of training data, in a module that their processes import by name."""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lt_core import LightningModule, Trainer

COUNTS = (3, 5)


class Net(LightningModule):
    """One weight, and the steps it was trained in."""

    def __init__(self, loss_weight: float | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.steps = 0
        self.loss_weight = loss_weight

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        self.steps += 1
        loss = (self.layer(batch) - 2).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return {"loss": loss, "loss_weight": self.loss_weight}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Rows(IterableDataset[Tensor]):
    """The rows of a rank, of unknown number."""

    is_sharded = True

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.rows)


def rows_of(rank: int) -> Tensor:
    """Return the rows of a rank."""
    return torch.arange(1.0, COUNTS[rank] + 1)[:, None] / 5 + rank


def train(
    folder: str, policy: str, is_sized: bool, accumulation: int, loss_weight: float | None = None
) -> tuple[int, float, list[float]]:
    """Return a rank's steps, the logged mean and the weights."""
    warnings.simplefilter("ignore")
    rows = rows_of(int(os.environ["LOCAL_RANK"]))
    loader: Any = DataLoader(rows if is_sized else Rows(rows), 1)  # type: ignore[arg-type]  # a tensor is a dataset
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        default_root_dir=folder,
        use_distributed_sampler=False,
        uneven_data=policy,
        accumulate_grad_batches=accumulation,
        **quiet,
    )
    model = Net(loss_weight)
    trainer.fit(model, loader)
    weights = nn.utils.parameters_to_vector(model.parameters()).tolist()
    return model.steps, float(trainer.callback_metrics["loss"]), weights
