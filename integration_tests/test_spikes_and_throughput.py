"""A spike ends a real training and is seen again after a resume; rates reach the loggers of a real run."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from spiking_ranks import train
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import ModelCheckpoint, SpikeDetection, ThroughputMonitor
from lt_core import LightningModule, Trainer
from lt_interfaces.loss_spikes import TrainingSpikeException
from lt_interfaces.testing.ranks import run_in_processes
from lt_loggers import CSVLogger


class Remembering(CSVLogger):
    """Remembers what it's given instead of writing it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class Net(LightningModule):
    """Its loss is the mean of the batch."""

    flops_per_batch = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        nothing: Tensor = self.layer(batch[:, None]).sum() * 0
        return nothing + batch.mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Do nothing."""

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_in(root: Path, *callbacks: Any, **arguments: Any) -> Trainer:
    warnings.simplefilter("ignore")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1}
    return Trainer(
        accelerator="cpu",
        devices=1,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        default_root_dir=root,
        **{**quiet, **arguments},
    )


def loader(*values: float) -> Any:
    return DataLoader(torch.tensor(values, dtype=torch.float32))  # type: ignore[arg-type]  # a tensor is a dataset


def test_a_spike_ends_training_and_is_written_down(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, SpikeDetection(), enable_checkpointing=False)
    with pytest.raises(TrainingSpikeException, match="batch 4"):
        trainer.fit(Net(), loader(1, 1, 1, 1, 100, 1))
    assert trainer.global_step == 5
    assert json.loads((tmp_path / "skip_batches.json").read_text()) == [3, 4]


def test_a_resumed_run_compares_with_the_losses_from_before(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, filename="half", every_n_train_steps=4)
    trainer_in(tmp_path, SpikeDetection(), saving).fit(Net(), loader(1, 1, 1, 1, 2.9, 1))
    fresh = trainer_in(tmp_path, SpikeDetection(), enable_checkpointing=False)
    fresh.fit(Net(), loader(3.1, 1))  # by itself it's none
    resumed = SpikeDetection()
    with pytest.raises(TrainingSpikeException, match="batch 4"):
        trainer_in(tmp_path, resumed, enable_checkpointing=False).fit(
            Net(), loader(1, 1, 1, 1, 3.1, 1), ckpt_path=tmp_path / "half.ckpt"
        )
    assert resumed.bad_batches == [3, 4]


def logged(root: Path, fn: str, **arguments: Any) -> list[tuple[int | None, dict[str, float]]]:
    logger = Remembering(root)
    monitor = ThroughputMonitor(len, window_size=2, available_flops=1e6)
    trainer = trainer_in(root, monitor, logger=logger, enable_checkpointing=False, log_every_n_steps=2, **arguments)
    data = [loader(*range(4))] * (2 if fn == "fit" else 1)
    getattr(trainer, fn)(Net(), *data)
    return [row for row in logger.rows if any("batches" in name for name in row[1])]


def test_fitting_logs_the_rates_of_training_and_validation(tmp_path: Path) -> None:
    rows = logged(tmp_path, "fit")
    assert [step for step, _ in rows] == [2, 4, 4, 4]
    stages = [[name.partition("/")[0] for name in metrics if name.endswith("/batches")] for _, metrics in rows]
    assert stages == [["train"], ["train"], ["validate"], ["validate"]]
    assert rows[1][1]["train/samples"] == rows[3][1]["validate/samples"] == 4
    rates = rows[0][1]
    assert rates["train/device/mfu"] == pytest.approx(rates["train/device/samples_per_sec"] * 12 / 1e6)


def test_training_with_accumulation_logs_a_step_once(tmp_path: Path) -> None:
    rows = logged(tmp_path, "fit", accumulate_grad_batches=2, limit_val_batches=0, max_epochs=2)
    assert [(step, metrics["train/batches"]) for step, metrics in rows] == [(2, 4), (4, 8)]


@pytest.mark.parametrize(("fn", "stage"), [("validate", "validate"), ("test", "test"), ("predict", "predict")])
def test_evaluation_logs_rates_at_its_own_batches(fn: str, stage: str, tmp_path: Path) -> None:
    rows = logged(tmp_path, fn)
    assert [(step, metrics[f"{stage}/batches"]) for step, metrics in rows] == [(2, 2), (4, 4)]
    assert rows[0][1][f"{stage}/device/batches_per_sec"] > 0


def test_a_spike_on_one_rank_ends_training_on_all_and_both_know_the_rates(tmp_path: Path) -> None:
    first, second = run_in_processes(train, str(tmp_path), timeout_seconds=100)
    assert "TrainingSpikeException" in (first["failure"], second["failure"])  # the other rank may end as its peer
    assert None not in (first["failure"], second["failure"])
    assert first["step"] == second["step"] == 4
    assert first["bad_batches"] == second["bad_batches"] == [2, 3]
    assert json.loads((tmp_path / "skip_batches.json").read_text()) == [2, 3]
    assert first["rates"].keys() == second["rates"].keys()
    rates = first["rates"]
    assert rates["train/samples_per_sec"] == pytest.approx(2 * rates["train/device/samples_per_sec"])
