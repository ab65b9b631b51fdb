"""Warm-up schedules in the Trainer: they count optimizer steps, are logged as others are, and go on exactly."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import LearningRateMonitor, ModelCheckpoint
from lt_core import LightningModule, Trainer
from lt_fabric import CosineWithWarmup, ExponentialWarmup, LinearWarmup, seed_everything
from lt_interfaces.testing import RegressionDataset, TinyRegressor
from lt_loggers import CSVLogger

Batch = tuple[Tensor, Tensor]
SCHEDULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "linear": (LinearWarmup, {"warmup_steps": 4}),
    "exponential": (ExponentialWarmup, {"warmup_steps": 4, "start_factor": 0.01}),
    "cosine": (CosineWithWarmup, {"warmup_steps": 4, "total_steps": 11, "end_factor": 0.1}),
}


class WarmedUp(LightningModule):
    """Has two parameter groups with rates of their own; remembers the rates of each micro-batch, by global step."""

    def __init__(self, kind: str = "linear", interval: str = "step") -> None:
        super().__init__()
        self.kind, self.interval = kind, interval
        self.network = nn.Sequential(nn.Dropout(0.1), TinyRegressor())
        self.rates: list[tuple[int, list[float]]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = batch
        self.rates.append((self.global_step, [group["lr"] for group in self.optimizers().param_groups]))
        return nn.functional.mse_loss(self.network(inputs), targets)

    def configure_optimizers(self) -> Any:
        first, *others = self.parameters()
        groups: list[dict[str, Any]] = [{"params": [first], "lr": 0.1}, {"params": others}]
        optimizer = torch.optim.AdamW(groups, lr=0.05)
        schedule, arguments = SCHEDULES[self.kind]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule(optimizer, **arguments), "interval": self.interval},
        }


def fit(root: Path, model: WarmedUp, *callbacks: Any, ckpt_path: Path | None = None, **arguments: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(default_root_dir=root, callbacks=list(callbacks), **(quiet | arguments))
    trainer.fit(model, DataLoader(RegressionDataset(4, 20), batch_size=4, shuffle=True), ckpt_path=ckpt_path)
    return trainer


def bits(module: nn.Module) -> dict[str, list[float]]:
    """Return weights in a form that compares exactly."""
    return {name: value.flatten().tolist() for name, value in module.state_dict().items()}


def test_warm_up_counts_optimizer_steps_and_not_micro_batches(tmp_path: Path) -> None:
    model = WarmedUp()
    # Five micro-batches an epoch: windows of 2, 2 and 1.
    fit(tmp_path, model, accumulate_grad_batches=2, max_epochs=2, enable_checkpointing=False)
    factors = [0.2, 0.2, 0.4, 0.4, 0.6, 0.8, 0.8, 1.0, 1.0, 1.0]
    assert [step for step, _ in model.rates] == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    assert [rates for _, rates in model.rates] == [
        [pytest.approx(0.1 * factor), pytest.approx(0.05 * factor)] for factor in factors
    ]


def test_warm_up_counts_epochs_when_asked_to(tmp_path: Path) -> None:
    model = WarmedUp(interval="epoch")
    fit(tmp_path, model, max_epochs=2, enable_checkpointing=False)
    assert [rates[0] for _, rates in model.rates] == pytest.approx([0.02] * 5 + [0.04] * 5)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_monitor_logs_the_rates_that_steps_used(tmp_path: Path, kind: str) -> None:
    model, logger = WarmedUp(kind), CSVLogger(tmp_path)
    fit(tmp_path, model, LearningRateMonitor(), max_epochs=3, logger=logger, log_every_n_steps=1)
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        logged = [[float(row[f"lr-AdamW/pg{number}"]) for number in (1, 2)] for row in csv.DictReader(file)]
    assert len(logged) == 15
    assert logged == [rates for _, rates in model.rates]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_run_resumed_in_warm_up_has_the_same_rates_and_weights_to_the_bit(tmp_path: Path, kind: str) -> None:
    def run(name: str, seed: int, steps: int, ckpt_path: Path | None = None) -> WarmedUp:
        seed_everything(seed, verbose=False)
        model = WarmedUp(kind)
        keeper = ModelCheckpoint(tmp_path / name, save_last=True, every_n_train_steps=1)
        arguments: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "accumulate_grad_batches": 2}
        fit(tmp_path / name, model, keeper, ckpt_path=ckpt_path, **arguments)
        return model

    whole = run("whole", 1, 9)
    before = run("first", 1, 2)
    # Seeded differently: what comes next is in the file.
    after = run("second", 2, 9, tmp_path / "first" / "last.ckpt")
    assert after.rates[0][0] == 2
    assert before.rates + after.rates == whole.rates
    assert bits(after) == bits(whole)


def test_cosine_fits_the_length_of_a_run(tmp_path: Path) -> None:
    class Whole(WarmedUp):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            total_steps = int(self.trainer.estimated_stepping_batches)
            self.scheduler = CosineWithWarmup(optimizer, warmup_steps=1, total_steps=total_steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler, "interval": "step"}}

    model = Whole()
    fit(tmp_path, model, accumulate_grad_batches=2, max_epochs=2, enable_checkpointing=False)
    assert model.scheduler.total_steps == 6
    assert model.rates[0][1] == [0.5]
    assert model.rates[-1][1][0] > 0
    assert model.scheduler.get_last_lr() == [0.0]
