"""Whole runs with real parts of several packages: they learn, go on where they stopped, and count and log exactly."""

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_callbacks import EarlyStopping, ModelCheckpoint
from lt_core import LightningModule, Trainer
from lt_datamodules import LightningDataModule
from lt_fabric import seed_everything
from lt_interfaces.callback import Callback
from lt_interfaces.testing import RegressionDataset, TinyRegressor
from lt_loggers import CSVLogger

Batch = tuple[Tensor, Tensor]


class Regression(LightningModule):
    """Learns with dropout, so that a run depends on the state of torch's generator at every step."""

    def __init__(self, dropout: float = 0.1, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Dropout(dropout), TinyRegressor())

    def loss(self, batch: Batch, name: str) -> Tensor:
        inputs, targets = batch
        loss = F.mse_loss(self.network(inputs), targets)
        self.log(f"{name}_loss", loss)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.loss(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.loss(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.loss(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        prediction: Tensor = self.network(batch[0])
        return prediction

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def data() -> LightningDataModule:
    """Return data whose training part is shuffled."""
    train, held_out = RegressionDataset(4, 192), RegressionDataset(4, 16, seed=1)
    return LightningDataModule.from_datasets(train, held_out, held_out, held_out, batch_size=8)


def trainer_in(root: Path, *callbacks: Callback, **arguments: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 2}
    logger = arguments.pop("logger", CSVLogger(root, name="run"))
    return Trainer(
        accelerator="cpu", default_root_dir=root, logger=logger, callbacks=list(callbacks), **(quiet | arguments)
    )


def rows(logger: Any) -> list[dict[str, str]]:
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def bits(module: nn.Module) -> dict[str, list[float]]:
    """Return weights in a form that compares exactly."""
    return {name: value.flatten().tolist() for name, value in module.state_dict().items()}


# pin_memory=True is what `from_datasets` asks for; torch says that there's no accelerator to pin for.
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*")


# --- a run from end to end ---


def test_a_module_learns_and_its_best_weights_are_tested(tmp_path: Path) -> None:
    seed_everything(1, verbose=False)
    model, datamodule = Regression(dropout=0.0), data()
    trainer = trainer_in(tmp_path, ModelCheckpoint(monitor="val_loss"), max_epochs=15)
    trainer.fit(model, datamodule=datamodule)
    validated = [float(row["val_loss"]) for row in rows(trainer.logger) if row["val_loss"]]
    assert len(validated) == 15
    assert min(validated) < 0.5 * validated[0]

    [results] = trainer.test(datamodule=datamodule, ckpt_path="best", verbose=False)
    # The same data is tested that was validated on, so the best checkpoint repeats the best validation.
    assert results["test_loss"] == pytest.approx(min(validated))
    [results] = trainer.validate(model, datamodule=datamodule, ckpt_path="best", verbose=False)
    assert results["val_loss"] == pytest.approx(min(validated))

    predictions = trainer.predict(model, datamodule=datamodule)
    assert predictions is not None
    assert [tuple(batch.shape) for batch in predictions] == [(8, 1), (8, 1)]

    again = Regression.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    assert again.hparams == {"dropout": 0.0, "lr": 0.05}
    assert bits(again) == bits(model)


def test_early_stopping_ends_a_run_that_no_longer_learns(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, EarlyStopping("val_loss", patience=2), max_epochs=50, enable_checkpointing=False)
    trainer.fit(Regression(lr=0.0), datamodule=data())
    assert trainer.current_epoch == 3


# --- going on ---


def run(root: Path, epochs: int, ckpt_path: Path | None = None) -> Trainer:
    seed_everything(3 if ckpt_path is None else 4, verbose=False)
    trainer = trainer_in(root, ModelCheckpoint(root, save_last=True), max_epochs=epochs)
    trainer.fit(Regression(), datamodule=data(), ckpt_path=ckpt_path)
    return trainer


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "first", 2)
    # Seeded differently: what the generators do next comes from the file.
    resumed = run(tmp_path / "second", 4, tmp_path / "first" / "last.ckpt")
    assert resumed.global_step == whole.global_step == 96
    assert bits(resumed.lightning_module) == bits(whole.lightning_module)
    later = [row for row in rows(whole.logger) if int(row["epoch"]) >= 2]
    assert later
    assert rows(resumed.logger) == later


def test_a_second_fit_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    model, datamodule = Regression(), data()
    trainer = trainer_in(tmp_path, max_epochs=2, enable_checkpointing=False)
    trainer.fit(model, datamodule=datamodule)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, datamodule=datamodule)
    assert (trainer.current_epoch, trainer.global_step) == (3, 72)


# --- steps and gradients ---


class Plain(LightningModule):
    """Trains by SGD on ``(inputs, targets)``, without logging."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TinyRegressor()

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return self.network.training_step(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit_plain(root: Path, model: LightningModule, batch_size: int = 4, **arguments: Any) -> Trainer:
    arguments = {"max_epochs": 1, "enable_checkpointing": False, "logger": False} | arguments
    trainer = trainer_in(root, **arguments)
    trainer.fit(model, DataLoader(RegressionDataset(4, 28), batch_size=batch_size))
    return trainer


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    model = Plain()
    by_hand = copy.deepcopy(model.network)
    trainer = fit_plain(tmp_path, model, batch_size=4, accumulate_grad_batches=3)
    assert trainer.global_step == 3

    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    # 7 batches of 4 in windows of 3 are 12, 12 and 4 samples: the last window holds one batch alone.
    for batch in DataLoader(RegressionDataset(4, 28), batch_size=12):
        optimizer.zero_grad()
        by_hand.training_step(batch).backward()
        optimizer.step()
    for ours, theirs in zip(model.network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


class TwoOptimizers(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.network.training_step(batch))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        parts = (self.network.hidden, self.network.output)
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in parts]


def test_each_step_of_each_optimizer_counts_in_manual_optimization(tmp_path: Path) -> None:
    model = TwoOptimizers()
    before = bits(model)
    assert fit_plain(tmp_path, model, limit_train_batches=3).global_step == 6
    assert all(weights != before[name] for name, weights in bits(model).items())


class SecondOrder(Plain):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=4)


def test_an_optimizer_may_ask_for_gradients_several_times(tmp_path: Path) -> None:
    model = SecondOrder()
    by_hand = copy.deepcopy(model.network)
    assert fit_plain(tmp_path, model, batch_size=28, max_epochs=3).global_step == 3

    optimizer = torch.optim.LBFGS(by_hand.parameters(), lr=0.5, max_iter=4)
    [batch] = DataLoader(RegressionDataset(4, 28), batch_size=28)

    def closure() -> float:
        optimizer.zero_grad()
        loss = by_hand.training_step(batch)
        loss.backward()
        return loss.item()

    for _ in range(3):
        optimizer.step(closure)
    assert bits(model.network) == bits(by_hand)


# --- what is logged ---


class LargestSoFar:
    """A metric object that no library made: recognised by what it can do."""

    def __init__(self) -> None:
        self.reset()

    def update(self, value: float) -> None:
        self.largest = max(self.largest, value)

    def compute(self) -> float:
        return self.largest

    def reset(self) -> None:
        self.largest = 0.0


class LogsAMetric(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.largest = LargestSoFar()

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        self.largest.update(10.0 * (self.current_epoch + 1) - batch_idx)
        self.log("largest", self.largest, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


def test_a_metric_object_is_recognised_by_what_it_can_do_and_begins_anew_each_epoch(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="run")
    fit_plain(tmp_path, LogsAMetric(), logger=logger, max_epochs=2)
    assert [float(row["largest"]) for row in rows(logger)] == [10.0, 20.0]


def counted(root: Path, kind: Any) -> Trainer:
    class Counts(Plain):
        def training_step(self, batch: Batch, batch_idx: int) -> Any:
            self.log("tokens", kind(EXACT), on_step=True, on_epoch=True, reduce_fx="max")
            return super().training_step(batch, batch_idx)

    return fit_plain(root, Counts(), logger=CSVLogger(root, name="run"))


EXACT = 2**24 + 1  # the first that 32-bit floats can't hold


@pytest.mark.parametrize("kind", [int, torch.tensor], ids=["int", "tensor"])
def test_a_large_count_is_written_exactly(tmp_path: Path, kind: Any) -> None:
    table = rows(counted(tmp_path, kind).logger)
    written = {value for row in table for name, value in row.items() if name.startswith("tokens") and value}
    assert {float(value) for value in written} == {EXACT}


@pytest.mark.parametrize("kind", [int, torch.tensor], ids=["int", "tensor"])
def test_a_large_count_is_shown_to_callbacks_exactly(tmp_path: Path, kind: Any) -> None:
    assert int(counted(tmp_path, kind).callback_metrics["tokens"]) == EXACT


# --- leaving the user's things alone ---


def test_the_list_of_callbacks_stays_as_it_was(tmp_path: Path) -> None:
    callbacks: list[Callback] = [EarlyStopping("val_loss")]
    trainer = Trainer(callbacks=callbacks, default_root_dir=tmp_path, logger=False)
    assert [type(callback) for callback in callbacks] == [EarlyStopping]
    assert len(trainer.callbacks) > 1


def test_everybody_is_torn_down_after_an_exception(tmp_path: Path) -> None:
    torn_down: list[str] = []

    class Notes(Callback):
        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            torn_down.append(f"callback {stage}")

    class Fails(Plain):
        def training_step(self, batch: Batch, batch_idx: int) -> Any:
            message = "no luck"
            raise ArithmeticError(message)

        def teardown(self, stage: str) -> None:
            torn_down.append(f"module {stage}")

    class Data(LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.ones(2, 4), torch.ones(2, 1)))

        def teardown(self, stage: str) -> None:
            torn_down.append(f"datamodule {stage}")

    trainer = trainer_in(tmp_path, Notes(), max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ArithmeticError, match="no luck"):
        trainer.fit(Fails(), datamodule=Data())
    assert torn_down == ["datamodule fit", "callback fit", "module fit"]
