"""ModelCheckpoint in real runs: names, numbers and folders as observed on Lightning 2.6, and where we do better.

20 samples in batches of 2 make 10 training batches per epoch, and there's one validation batch.
"""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, RichProgressBar, Timer
from lt_core import LightningModule, Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_loggers import CSVLogger

pytestmark = pytest.mark.filterwarnings("ignore:The folder of checkpoints")


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Model(LightningModule):
    """Logs ``loss`` in training and a ``vl`` that the test chooses per epoch."""

    def __init__(self, *validation_losses: float) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.validation_losses = validation_losses

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        self.log("loss", loss, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        losses = self.validation_losses
        self.log("vl", losses[self.current_epoch] if losses else self.layer(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Manual(Model):
    """Steps two optimizers per batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:  # type: ignore[override]  # manual: no loss to return
        for optimizer in self.optimizers():  # type: ignore[union-attr]  # there are two
            optimizer.zero_grad()
            self.manual_backward(self.layer(batch).square().mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.01), torch.optim.SGD(self.parameters(), lr=0.01)]


def loader(num_batches: int) -> DataLoader[Tensor]:
    return DataLoader(torch.randn(2 * num_batches, 4), batch_size=2)  # type: ignore[arg-type]  # a tensor is a dataset


def fit(
    root: Path, *callbacks: Callback, model: Model | None = None, ckpt_path: str | None = None, **arguments: Any
) -> Trainer:
    arguments = QUIET | {"default_root_dir": root, "callbacks": list(callbacks)} | arguments
    trainer = Trainer(**arguments)
    trainer.fit(model or Model(), loader(10), loader(1), ckpt_path=ckpt_path)
    return trainer


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- vectors ---


def test_c24_defaults_keep_the_newest_epoch(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(), max_epochs=3)
    assert files(tmp_path / "checkpoints") == ["epoch=2-step=30.ckpt"]


def test_c25_minus_one_keeps_all(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(save_top_k=-1), max_epochs=3)
    assert files(tmp_path / "checkpoints") == ["epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt", "epoch=2-step=30.ckpt"]


def test_c26_every_seven_steps(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(every_n_train_steps=7, save_top_k=-1), max_epochs=3)
    assert files(tmp_path / "checkpoints") == [
        f"{name}.ckpt" for name in ("epoch=0-step=7", "epoch=1-step=14", "epoch=2-step=21", "epoch=2-step=28")
    ]


def test_c27_every_second_epoch(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(every_n_epochs=2, save_top_k=-1), max_epochs=3)
    assert files(tmp_path / "checkpoints") == ["epoch=1-step=20.ckpt"]


def test_c28_a_template_with_a_validation_metric(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(filename="m-{epoch:02d}-{vl:.3f}", auto_insert_metric_name=False)
    fit(tmp_path, checkpoint, model=Model(0.5, 0.25, 0.125), max_epochs=3)
    assert files(tmp_path / "checkpoints") == ["m-02-0.125.ckpt"]


@pytest.mark.parametrize("save_top_k", [-1, 1])
def test_c29_a_fixed_name_is_overwritten(tmp_path: Path, save_top_k: int) -> None:
    fit(tmp_path, ModelCheckpoint(filename="fixed", save_top_k=save_top_k), max_epochs=3)
    assert files(tmp_path / "checkpoints") == ["fixed.ckpt"]


def test_c30_runs_in_one_folder_get_versions_and_last_resumes_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    for _ in range(3):
        fit(tmp_path, ModelCheckpoint(folder, save_last=True))
    last = ["last-v1.ckpt", "last-v2.ckpt", "last.ckpt"]
    assert files(folder) == [
        *("epoch=0-step=10-v1.ckpt", "epoch=0-step=10-v2.ckpt", "epoch=0-step=10.ckpt"),
        *last,
    ]
    resumed = fit(tmp_path, ModelCheckpoint(folder, save_last=True), max_epochs=2, ckpt_path="last")
    assert resumed.global_step == 20
    assert files(folder) == ["epoch=0-step=10-v1.ckpt", "epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt", *last]
    assert torch.load(folder / "last-v2.ckpt", weights_only=True)["global_step"] == 20


# --- where we do better ---


def test_last_is_the_newest_state_though_the_metric_got_worse(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="vl", save_last=True)
    fit(tmp_path, checkpoint, model=Model(0.1, 0.2, 0.3), max_epochs=3)
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "c" / "last.ckpt", weights_only=True)["global_step"] == 30


def test_the_time_trigger_works_in_manual_optimization(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", train_time_interval=timedelta(microseconds=1), save_top_k=-1)
    fit(tmp_path, checkpoint, model=Manual(), limit_train_batches=2, limit_val_batches=0)
    assert files(tmp_path / "c") == ["epoch=0-step=2.ckpt", "epoch=0-step=4.ckpt"]


def test_a_name_with_a_metric_that_was_never_logged_raises(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"`val`.*'vl'"):
        fit(tmp_path, ModelCheckpoint(filename="{val:.2f}"))


def test_a_monitored_metric_that_was_never_logged_raises(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"monitor='val'.*'vl'"):
        fit(tmp_path, ModelCheckpoint(monitor="val"))


def test_a_moved_folder_keeps_its_best(tmp_path: Path) -> None:
    first = ModelCheckpoint(tmp_path / "old", monitor="vl", save_last=True)
    fit(tmp_path, first, model=Model(0.1, 0.2), max_epochs=2)
    shutil.move(tmp_path / "old", tmp_path / "new")
    second = ModelCheckpoint(tmp_path / "new", monitor="vl", save_last=True)
    path = str(tmp_path / "new" / "last.ckpt")
    trainer = fit(tmp_path, second, model=Model(0.1, 0.2, 0.3), max_epochs=3, ckpt_path=path)
    assert trainer.global_step == 30
    assert files(tmp_path / "new") == ["epoch=0-step=10.ckpt", "last.ckpt"]
    assert second.best_model_path == str(tmp_path / "new" / "epoch=0-step=10.ckpt")


def test_an_interrupted_run_saves_where_it_is(tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                message = "pulled the plug"
                raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="pulled the plug"):
        fit(tmp_path, Interrupt(), ModelCheckpoint(tmp_path / "c", save_on_exception=True))
    assert files(tmp_path / "c") == ["epoch=0-step=4.ckpt"]


# --- the other callbacks in a real run ---


def test_c6_a_stop_asked_for_in_mid_epoch_validates_once(tmp_path: Path) -> None:
    validated: list[int] = []

    class StopAtThree(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 3:
                trainer.request_stop("three steps are enough")

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            validated.append(trainer.global_step)

    trainer = fit(tmp_path, StopAtThree(), enable_checkpointing=False)
    assert (trainer.global_step, trainer.current_epoch, validated) == (3, 1, [3])


@pytest.mark.parametrize(("interval", "checks"), [(1.0, 1), (0.5, 2)])
def test_c40_early_stopping_looks_once_per_epoch_or_after_each_validation(
    tmp_path: Path, interval: float, checks: int
) -> None:
    callback = EarlyStopping("vl", patience=10)
    fit(tmp_path, callback, model=Model(0.5), val_check_interval=interval, enable_checkpointing=False)
    assert callback.wait_count == checks - 1
    assert float(callback.best_score) == 0.5


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    callback = EarlyStopping("vl", patience=2)
    model = Model(0.5, 0.4, 0.4, 0.4, 0.1)
    trainer = fit(tmp_path, callback, model=model, max_epochs=5, enable_checkpointing=False)
    assert trainer.current_epoch == 4
    assert callback.stopped_epoch == 3


def test_the_timer_ends_the_run(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Timer(timedelta(microseconds=1), verbose=False), enable_checkpointing=False)
    assert trainer.global_step <= 1


def test_a_timer_whose_time_is_up_before_training_lets_no_batch_pass(tmp_path: Path) -> None:
    timer = Timer(timedelta(seconds=10), verbose=False)
    timer.load_state_dict({"time_elapsed": {"train": 11.0}})
    assert fit(tmp_path, timer, enable_checkpointing=False).global_step == 0


def test_learning_rates_reach_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, LearningRateMonitor(), logger=logger, log_every_n_steps=2, enable_checkpointing=False)
    header, *rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("lr-SGD")
    assert {row.split(",")[column] for row in rows} - {""} == {"0.01"}


def test_the_bar_shows_the_epochs_values_in_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, RichProgressBar(), enable_progress_bar=True, max_epochs=2, enable_checkpointing=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    assert [line.split(" [")[0] for line in lines] == ["Epoch 0/1: 10/10", "Epoch 1/1: 10/10"]
    assert "loss_step=" in lines[0]
    assert "loss_epoch=" in lines[1]
