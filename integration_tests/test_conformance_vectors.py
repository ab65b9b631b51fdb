"""Inputs and what was observed on Lightning 2.6: the same inputs must give the same here.

20 samples in batches of 2 make 10 training batches, and there's one validation batch, unless a test says otherwise.
Numbers that differ on purpose are at the end, with the reason.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_fabric import seed_everything
from lt_interfaces.callback import Callback
from lt_interfaces.logger import Logger

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def loader(num_batches: int = 10) -> DataLoader[Tensor]:
    return DataLoader(torch.randn(2 * num_batches, 4), batch_size=2)  # type: ignore[arg-type]  # a tensor is a dataset


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("vl", self.layer(batch).sum())

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("tl", self.layer(batch).sum())

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return self.layer(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Positions(Callback):
    """Notes where training and validation happened, as (epoch, batch index)."""

    def __init__(self) -> None:
        self.trained: list[tuple[int, int]] = []
        self.validated: list[tuple[int, int]] = []
        self.steps_when_validated: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append((trainer.current_epoch, batch_idx))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.validated.append(self.trained[-1])
            self.steps_when_validated.append(trainer.global_step)


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True


class MemoryLogger(Logger):
    """Keeps what it's given."""

    name = "memory"
    version = 0

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


def trainer_with(root: Path, *callbacks: Callback, **arguments: Any) -> Trainer:
    arguments = QUIET | {"accelerator": "cpu", "default_root_dir": root} | arguments
    return Trainer(callbacks=list(callbacks), **arguments)


def fit(root: Path, *callbacks: Callback, **arguments: Any) -> tuple[Trainer, Positions]:
    positions = Positions()
    trainer = trainer_with(root, positions, *callbacks, **arguments)
    trainer.fit(Model(), loader(), loader(1))
    return trainer, positions


def saved(trainer: Trainer, path: Path, **arguments: Any) -> dict[str, Any]:
    trainer.save_checkpoint(path, **arguments)
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


# --- how long it trains, and when it validates ---


def test_two_epochs_take_twenty_steps(tmp_path: Path) -> None:  # C1
    trainer, _ = fit(tmp_path, max_epochs=2)
    assert (trainer.global_step, trainer.current_epoch) == (20, 2)
    loops = saved(trainer, tmp_path / "x.ckpt")["loops"]
    assert loops["fit_loop"]["epoch_loop.state_dict"] == {"_batches_that_stepped": 20}


def test_max_steps_ends_an_epoch_early_and_without_validation(tmp_path: Path) -> None:  # C2
    trainer, positions = fit(tmp_path, max_steps=7)
    assert (trainer.global_step, trainer.current_epoch) == (7, 1)
    assert positions.validated == []


def test_max_steps_counts_accumulated_steps(tmp_path: Path) -> None:  # C3
    trainer, positions = fit(tmp_path, max_steps=10, accumulate_grad_batches=3)
    assert (trainer.global_step, trainer.current_epoch) == (10, 3)
    assert positions.validated == [(0, 9), (1, 9)]
    assert positions.steps_when_validated == [4, 8]


def test_last_partial_window_of_an_epoch_steps(tmp_path: Path) -> None:  # C4
    assert fit(tmp_path, max_epochs=1, accumulate_grad_batches=3)[0].global_step == 4


def test_min_steps_does_not_reach_beyond_max_epochs(tmp_path: Path) -> None:  # C5
    assert fit(tmp_path, max_epochs=1, min_steps=15)[0].global_step == 10


def test_stop_in_mid_epoch_validates_once_more(tmp_path: Path) -> None:  # C6
    trainer, positions = fit(tmp_path, StopAt(3), max_epochs=3)
    assert (trainer.global_step, trainer.current_epoch) == (3, 1)
    assert positions.validated == [(0, 2)]


def test_stop_waits_for_min_epochs(tmp_path: Path) -> None:  # C7
    trainer, _ = fit(tmp_path, StopAt(3), min_epochs=2, max_epochs=3)
    assert (trainer.global_step, trainer.current_epoch) == (20, 2)


@pytest.mark.parametrize(
    ("epochs", "arguments", "expected"),
    [
        (1, {"val_check_interval": 0.25}, [(0, 1), (0, 3), (0, 5), (0, 7), (0, 9)]),
        (2, {"val_check_interval": 3}, [(0, 2), (0, 5), (0, 8), (1, 2), (1, 5), (1, 8)]),
        (
            2,
            {"val_check_interval": 3, "check_val_every_n_epoch": None},
            [(0, 2), (0, 5), (0, 8), (1, 1), (1, 4), (1, 7)],
        ),
        (3, {"val_check_interval": 15, "check_val_every_n_epoch": None}, [(1, 4), (2, 9)]),
        (4, {"check_val_every_n_epoch": 2}, [(1, 9), (3, 9)]),
    ],
)
def test_validation_schedule(
    tmp_path: Path, epochs: int, arguments: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    assert fit(tmp_path, max_epochs=epochs, **arguments)[1].validated == expected


def test_fast_dev_run_limits_everything(tmp_path: Path) -> None:  # C8
    positions = Positions()
    trainer = trainer_with(tmp_path, positions, fast_dev_run=2, max_epochs=7, check_val_every_n_epoch=3)
    assert (trainer.max_epochs, trainer.max_steps) == (1, 2)
    model = Model()
    trainer.fit(model, loader(), loader())
    assert positions.trained == [(0, 0), (0, 1)]
    assert positions.validated == [(0, 1)]
    assert trainer.num_sanity_val_batches in ([], [0])
    assert (trainer.num_training_batches, trainer.num_val_batches) == (2, [2])
    trainer.test(model, loader(), verbose=False)
    assert trainer.num_test_batches == [2]
    assert len(trainer.predict(model, loader())) == 2


@pytest.mark.filterwarnings("ignore:.*overfit.*")
def test_overfit_batches_limits_training_and_validation_alone(tmp_path: Path) -> None:  # C9
    trainer = trainer_with(tmp_path, overfit_batches=3, max_epochs=1)
    model = Model()
    trainer.fit(model, loader(), loader())
    assert (trainer.num_training_batches, trainer.num_val_batches) == (3, [3])
    trainer.test(model, loader(), verbose=False)
    assert trainer.num_test_batches == [10]


class SkipsFrom(Model):
    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> int | None:
        return -1 if batch_idx == 4 else None


def test_module_may_skip_the_rest_of_an_epoch(tmp_path: Path) -> None:  # C18
    trainer = trainer_with(tmp_path, max_epochs=2)
    trainer.fit(SkipsFrom(), loader(), loader(1))
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)


# --- defaults ---


def test_defaults_of_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # C10
    monkeypatch.chdir(tmp_path)
    trainer = Trainer()
    names = [type(callback).__name__ for callback in trainer.callbacks]
    assert names == ["RichProgressBar", "RichModelSummary", "ModelCheckpoint"]
    assert [type(logger).__name__ for logger in trainer.loggers] == ["TensorBoardLogger"]
    assert trainer.max_epochs is None
    assert list(tmp_path.iterdir()) == []


def test_default_sanity_check_and_logging_interval(tmp_path: Path) -> None:  # C10
    class Logs(Model):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss)
            return loss

    logger = MemoryLogger()
    trainer = trainer_with(tmp_path, max_epochs=1, logger=logger)
    trainer.fit(Logs(), loader(110), loader())
    assert trainer.num_sanity_val_batches == [2]
    assert [step for step, metrics in logger.rows if "loss" in metrics] == [49, 99]


# --- what evaluation returns, and what is logged under which name ---


class LogsPerLoader(Model):
    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("vl", float(dataloader_idx))
        self.log("vs", 1.0, on_step=True, on_epoch=True)
        if dataloader_idx == 0:
            self.log("nodl", 2.0, add_dataloader_idx=False)


def test_validate_returns_the_metrics_of_each_loader(tmp_path: Path) -> None:  # C11
    results = trainer_with(tmp_path).validate(LogsPerLoader(), [loader(1), loader(1)], verbose=False)
    assert results == [
        {"vl/dataloader_idx_0": 0.0, "vs_epoch/dataloader_idx_0": 1.0, "nodl": 2.0},
        {"vl/dataloader_idx_1": 1.0, "vs_epoch/dataloader_idx_1": 1.0},
    ]


class LogsForked(Model):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("only_step", 1.0)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("vl", 1.0)
        self.log("vs", 1.0, on_step=True, on_epoch=True)


def test_metrics_appear_under_plain_and_forked_names(tmp_path: Path) -> None:  # C12
    trainer = trainer_with(tmp_path, max_epochs=1, log_every_n_steps=1, logger=MemoryLogger())
    trainer.fit(LogsForked(), loader(), loader(1))
    assert set(trainer.callback_metrics) == {"loss", "loss_step", "loss_epoch", "only_step", "vl", "vs", "vs_epoch"}
    assert set(trainer.logged_metrics) == {"loss_step", "loss_epoch", "only_step", "vl", "vs_step", "vs_epoch"}


def test_predict_returns_a_list_per_loader_if_there_are_several(tmp_path: Path) -> None:  # C13
    trainer, model = trainer_with(tmp_path), Model()
    one = trainer.predict(model, loader(2))
    two = trainer.predict(model, [loader(2), loader(2)])
    assert [tuple(output.shape) for output in one] == [(2, 1), (2, 1)]
    assert [[tuple(output.shape) for output in outputs] for outputs in two] == [[(2, 1), (2, 1)]] * 2


# --- hyper-parameters and checkpoints ---


class KeepsAll(Model):
    def __init__(self, a: int, b: int = 2, *args: int, c: int = 3, **kw: int) -> None:
        super().__init__()
        self.save_hyperparameters()


class KeepsConfiguration(Model):
    def __init__(self, conf: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters(conf)


@pytest.mark.parametrize(
    ("model", "hparams", "name"),
    [
        (KeepsAll(1, c=5, z=9), {"a": 1, "b": 2, "c": 5, "z": 9}, "kwargs"),  # C22
        (KeepsConfiguration({"q": 1}), {"q": 1}, "conf"),  # C23
    ],
    ids=["keyword arguments", "one mapping"],
)
def test_saved_hyper_parameters(tmp_path: Path, model: Model, hparams: dict[str, Any], name: str) -> None:
    assert dict(model.hparams) == hparams
    trainer = trainer_with(tmp_path, max_steps=1)
    trainer.fit(model, loader(), loader(1))
    checkpoint = saved(trainer, tmp_path / "x.ckpt")
    assert (checkpoint["hyper_parameters"], checkpoint["hparams_name"]) == (hparams, name)


def test_keys_of_a_checkpoint(tmp_path: Path) -> None:  # C31
    trainer = trainer_with(tmp_path, max_steps=1)
    trainer.fit(KeepsAll(1), loader(), loader(1))
    always = {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops"}
    always |= {"hparams_name", "hyper_parameters"}
    training = {"callbacks", "optimizer_states", "lr_schedulers"}
    assert set(saved(trainer, tmp_path / "whole.ckpt")) - {"lt"} == always | training
    assert set(saved(trainer, tmp_path / "weights.ckpt", weights_only=True)) - {"lt"} == always


def epoch_end_checkpoint(root: Path) -> Path:
    class SavesAtEpochEnd(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(root / "epoch-end.ckpt")

    fit(root, SavesAtEpochEnd(), max_epochs=1)
    return root / "epoch-end.ckpt"


def test_resume_from_the_end_of_an_epoch_starts_the_next(tmp_path: Path) -> None:  # C33
    path = epoch_end_checkpoint(tmp_path)
    positions = Positions()
    trainer = trainer_with(tmp_path, positions, max_epochs=2)
    trainer.fit(Model(), loader(), loader(1), ckpt_path=path)
    assert positions.trained == [(1, idx) for idx in range(10)]
    assert trainer.global_step == 20


def test_resume_with_nothing_left_to_train_is_no_error(tmp_path: Path) -> None:  # C34
    path = epoch_end_checkpoint(tmp_path)
    positions = Positions()
    trainer = trainer_with(tmp_path, positions, max_epochs=1)
    trainer.fit(Model(), loader(), loader(1), ckpt_path=path)
    assert positions.trained == []
    assert trainer.global_step == 10


# --- different on purpose ---


class ReturnsADict(Model):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return {"loss": self.layer(batch).sum() * 0 + 6, "extra": 1}


def test_outputs_hold_the_loss_as_it_was_returned(tmp_path: Path) -> None:  # C17
    """Lightning gives 2.0, the loss over the 3 accumulated batches; the division belongs to the gradient."""
    seen: list[Any] = []

    class Notes(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append((float(outputs["loss"]), outputs["extra"]))

    trainer = trainer_with(tmp_path, Notes(), max_epochs=1, accumulate_grad_batches=3)
    trainer.fit(ReturnsADict(), loader(4), loader(1))
    assert seen == [(6.0, 1)] * 4


def test_no_seed_means_a_fresh_one_that_is_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # C21
    """Lightning takes 0, so that "no seed" always means the same numbers, and leaves workers unseeded."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "restored after this test")
    monkeypatch.setenv("PL_SEED_WORKERS", "restored after this test")
    seeds = []
    for _ in range(2):
        monkeypatch.delenv("PL_GLOBAL_SEED")
        with caplog.at_level("INFO", logger="lt"):
            seeds.append(seed_everything())
        assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == (str(seeds[-1]), "1")
        assert str(seeds[-1]) in caplog.text
    assert seeds[0] != seeds[1]
