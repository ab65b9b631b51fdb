"""What ranks evaluate that compute each batch together, in a module that they import by name."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from evaluating_ranks import Numbers, Stream
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer


class Doubling(LightningModule):
    """Doubles numbers with weights that ranks have to gather, and logs what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, 2.0)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch[:, None].float()).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        doubled = self.layer(batch[:, None].float())[:, 0]
        self.log("count", float(len(batch)), reduce_fx="sum")
        self.log("mean", doubled.mean(), batch_size=len(batch))

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch[:, None].float())[:, 0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def new_trainer(strategy: Any = "fsdp", **arguments: Any) -> Trainer:
    warnings.simplefilter("ignore")
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(accelerator="cpu", devices=int(os.environ["WORLD_SIZE"]), strategy=strategy, **quiet, **arguments)


Evaluated = dict[tuple[int, int], tuple[dict[str, float], list[float]]]


def evaluate(sizes: Sequence[int], batch_sizes: Sequence[int]) -> Evaluated:
    """Validate and predict; returns for each number of samples and batch size the metrics and all predictions."""
    module, found = Doubling(), {}
    for size in sizes:
        for batch_size in batch_sizes:
            loader = DataLoader(Numbers(size), batch_size)
            (metrics,) = new_trainer().validate(module, loader, verbose=False)
            outputs = new_trainer().predict(module, loader, gather=True)
            found[size, batch_size] = (metrics, [number for batch in outputs for number in batch.tolist()])
    return found


def train_after_evaluating() -> tuple[float, float]:
    """Validate in inference mode, if that's possible, and then fit with validations; returns what both came to."""
    module, loader = Doubling(), DataLoader(Numbers(7), 2)
    (before,) = new_trainer(inference_mode=True).validate(module, loader, verbose=False)
    trainer = new_trainer(max_epochs=2)
    trainer.fit(module, loader, loader)
    return before["mean"], trainer.callback_metrics["mean"].item()


def what_is_said(kind: str) -> str:
    """Return what's said of data that can't be evaluated together."""
    limits: dict[str, Any] = {"limit_val_batches": 2} if kind == "limited stream" else {}
    loader: Any = {
        "too few": lambda: DataLoader(Numbers(1), 1),
        "stream": lambda: DataLoader(Stream(6), 1),
        "limited stream": lambda: DataLoader(Stream(6), 1),
        "own sampler": lambda: DataLoader(Numbers(6), 1, sampler=range(2 + int(os.environ["LOCAL_RANK"]))),
    }[kind]()
    if kind == "own sampler":
        limits["use_distributed_sampler"] = False
    try:
        (metrics,) = new_trainer(**limits).validate(Doubling(), loader, verbose=False)
    except Exception as error:
        return str(error)
    return f"counted {metrics['count']}"
