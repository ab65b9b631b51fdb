"""Statistics of the device reach the loggers of a real run."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import DeviceStatsMonitor
from lt_core import LightningModule, Trainer
from lt_loggers import CSVLogger

CPU = ["cpu_percent", "cpu_swap_percent", "cpu_vm_percent"]


class Remembering(CSVLogger):
    """Remembers what it's given instead of writing it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[tuple[int | None, str]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.extend((step, name) for name in metrics if name != "epoch")


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch[:, None]).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Do nothing."""

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def logged(root: Path, fn: str, accelerator: str = "cpu", **arguments: Any) -> list[tuple[int | None, str]]:
    warnings.simplefilter("ignore")
    logger = Remembering(root)
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=root,
        **{"log_every_n_steps": 2, "callbacks": DeviceStatsMonitor(), **arguments},
    )
    data = DataLoader(torch.ones(4))  # type: ignore[var-annotated,arg-type]  # a tensor is a dataset
    trainer.fit(Net(), data, data) if fn == "fit" else getattr(trainer, fn)(Net(), data)
    return logger.rows


def rows(step: int, hook: str) -> list[tuple[int | None, str]]:
    return [(step, f"DeviceStatsMonitor.{hook}/{name}") for name in CPU]


def test_fitting_logs_every_second_batch_of_training_and_validation(tmp_path: Path) -> None:
    measured = [(1, "start"), (2, "end"), (3, "start"), (4, "end")]
    expected = [row for step, end in measured for row in rows(step, f"on_train_batch_{end}")]
    found = logged(tmp_path, "fit")
    assert sorted(row for row in found if "train" in row[1]) == sorted(expected)
    assert {step for step, name in found if "validation" in name} == {4}


@pytest.mark.parametrize(("fn", "stage"), [("validate", "validation"), ("test", "test")])
def test_evaluation_logs_every_second_batch_by_its_number(fn: str, stage: str, tmp_path: Path) -> None:
    expected = [row for step in (1, 3) for end in ("start", "end") for row in rows(step, f"on_{stage}_batch_{end}")]
    assert sorted(logged(tmp_path, fn)) == sorted(expected)


def test_a_trial_of_the_code_needs_no_logger(tmp_path: Path) -> None:
    assert logged(tmp_path, "fit", fast_dev_run=True) == []


@pytest.mark.gpu
def test_memory_of_a_gpu_and_the_load_of_its_cpu_are_logged(tmp_path: Path) -> None:
    monitor = DeviceStatsMonitor(cpu_stats=True, filter_keys={"allocated_bytes.all.peak", "cpu_percent"})
    names = {name.rpartition("/")[2] for _, name in logged(tmp_path, "fit", "cuda", callbacks=monitor)}
    assert names == {"allocated_bytes.all.peak", "cpu_percent"}
