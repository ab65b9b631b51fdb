"""What ranks evaluate that compute each batch together, in a module that they import by name."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from evaluating_ranks import Numbers, Stream
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MaxMetric, MetricCollection, SumMetric

from lt_core import LightningModule, Trainer
from lt_fsdp import ModelParallelStrategy, ParallelPlan


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


class Counting(LightningModule):
    """Counts samples in metric objects: by itself, logged, and in a collection."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(1, 4), nn.Linear(4, 1)
        self.seen, self.trained = SumMetric(), SumMetric()
        self.together = MetricCollection({"most": MaxMetric(), "all": SumMetric()})
        self.by_hand: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.trained.update(torch.tensor(float(len(batch))))
        self.log("trained", self.trained, on_step=False, on_epoch=True)
        return self.down(self.up(batch[:, None].float())).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.update(torch.tensor(float(len(batch))))
        self.together.update(batch.float())
        self.log("seen", self.seen)
        self.log_dict(self.together)

    def on_validation_epoch_end(self) -> None:
        self.by_hand.append(self.together["all"].compute().item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def count_in_metric_objects(plan: dict[str, int] | None) -> tuple[dict[str, float], list[float], bool]:
    """Return what metric objects say of eight numbers under a plan or FSDP, and whether they're as before."""
    module, loader = Counting(), DataLoader(Numbers(8), batch_size=2)
    strategy: Any = "fsdp"
    if plan is not None:
        strategy = ModelParallelStrategy(plan=ParallelPlan(**plan, tensor_styles={"up": "colwise", "down": "rowwise"}))
    trainer = new_trainer(strategy, max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(module, loader, loader)
    found = {name: value.item() for name, value in trainer.callback_metrics.items() if name in ("seen", "trained")}
    found |= {name: trainer.callback_metrics[name].item() for name in ("most", "all")}
    is_as_before = module.seen.process_group is None and module.seen.distributed_available_fn()
    return found, module.by_hand, is_as_before


class MadeLate(Counting):
    """Makes a metric object where the rest of the model is made on the meta device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.where = device

    def configure_model(self) -> None:
        with torch.device(self.where):
            self.seen = SumMetric()


def metric_made_late(device: str) -> float | str:
    """Return what a metric object counts that was made in `configure_model`, or why it can't."""
    loader = DataLoader(Numbers(8), batch_size=2)
    try:
        (found,) = new_trainer().validate(MadeLate(device), loader, verbose=False)
    except RuntimeError as error:
        return str(error)
    return found["seen"]
