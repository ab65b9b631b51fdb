"""Which exception comes in which situation, and what's left behind when a run is interrupted."""

import csv
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lt_callbacks import EarlyStopping, ModelCheckpoint
from lt_core import LightningModule, Trainer
from lt_datamodules import LightningDataModule
from lt_fabric import Fabric, FullPrecision, seed_everything
from lt_fabric.data import CombinedLoader
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import not_a_hook
from lt_loggers import CSVLogger

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def loader(num_batches: int = 4) -> DataLoader[Tensor]:
    return DataLoader(torch.randn(2 * num_batches, 4), batch_size=2)  # type: ignore[arg-type]  # a tensor is a dataset


def trainer_with(**arguments: Any) -> Trainer:
    return Trainer(**(QUIET | {"accelerator": "cpu", "max_epochs": 1} | arguments))


class Trains(LightningModule):
    """The least that fits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Validates(Trains):
    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("vl", self.layer(batch).sum())


def fit(model: Any, *data: Any, **arguments: Any) -> Trainer:
    trainer = trainer_with(**arguments)
    trainer.fit(model, *(data or (loader(),)))
    return trainer


def variant(base: type = Trains, /, **methods: Any) -> Any:
    """Return a module of a class that differs from its base by some methods."""
    return type("Model", (base,), methods)()


def optimized_by(configure: Callable[[Any], Any]) -> Any:
    return variant(configure_optimizers=configure)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01)


def plateau(model: nn.Module, **config: Any) -> dict[str, Any]:
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **config}}


def logging(name: str = "x", value: Any = 1.0, **options: Any) -> Any:
    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        self.log(name, value, **options)
        loss: Tensor = self.layer(batch).mean()
        return loss

    return variant(training_step=training_step)


class StepsAlone(Trains):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Data(LightningDataModule):
    def train_dataloader(self) -> Any:
        return loader()


class KeepsConfiguration(Trains):
    def __init__(self, rate: float, value: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(value) if value is not None else self.save_hyperparameters()


class DataWithRate(Data):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.save_hyperparameters()


class Stateful(Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"a": 1}


class Stateless:
    """A scheduler without state."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def step(self) -> None: ...


def saved(*, weights_only: bool = False, epochs: int = 1) -> str:
    trainer = fit(Trains(), max_epochs=epochs)
    trainer.save_checkpoint("saved.ckpt", weights_only=weights_only)
    return "saved.ckpt"


def log_outside_of_its_hook(self: Any) -> None:
    self.log("x", 1.0)


SITUATIONS: dict[type[BaseException], dict[str, Callable[[], object]]] = {
    MisconfigurationException: {
        "negative limit": lambda: Trainer(limit_train_batches=-1),
        "fraction above one": lambda: Trainer(limit_val_batches=1.5),
        "negative fast_dev_run": lambda: Trainer(fast_dev_run=-1),
        "max_epochs below -1": lambda: Trainer(max_epochs=-2),
        "max_steps below -1": lambda: Trainer(max_steps=-2),
        "unknown clip algorithm": lambda: Trainer(gradient_clip_val=1, gradient_clip_algorithm="nom"),
        "two precisions": lambda: Trainer(plugins=[FullPrecision(), FullPrecision()]),
        "no plugin at all": lambda: Trainer(plugins=[object()]),
        "no devices": lambda: Trainer(accelerator="cpu", devices=0),
        "unavailable accelerator": lambda: Trainer(accelerator="mps"),
        "unknown profiler": lambda: Trainer(profiler="simpel"),
        "two progress bars": lambda: Trainer(callbacks=[_bar(), _bar()]),
        "checkpoints wanted and switched off": lambda: Trainer(
            callbacks=[ModelCheckpoint()], enable_checkpointing=False
        ),
        "no training_step": lambda: fit(variant(LightningModule, configure_optimizers=sgd)),
        "no configure_optimizers": lambda: fit(variant(LightningModule, training_step=Trains.training_step)),
        "no validation_step": lambda: trainer_with().validate(Trains(), loader()),
        "no test_step": lambda: trainer_with().test(Trains(), loader()),
        "no predict_step or forward": lambda: trainer_with().predict(Trains(), loader()),
        "predict_step is None": lambda: trainer_with().predict(variant(predict_step=None), loader()),
        "loaders and datamodule": lambda: trainer_with().fit(Trains(), loader(), datamodule=Data()),
        "no training data": lambda: trainer_with().fit(Trains()),
        "strange optimizers": lambda: fit(optimized_by(lambda self: {"optimiser": sgd(self)})),
        "scheduler of another optimizer": lambda: fit(
            optimized_by(lambda self: ([sgd(self)], [torch.optim.lr_scheduler.StepLR(sgd(self), 1)]))
        ),
        "plateau without monitor": lambda: fit(optimized_by(plateau)),
        "plateau's metric missing": lambda: fit(optimized_by(lambda self: plateau(self, monitor="nowhere"))),
        "unknown interval": lambda: fit(optimized_by(lambda self: plateau(self, monitor="x", interval="batch"))),
        "clipping in manual optimization": lambda: fit(StepsAlone(), gradient_clip_val=1.0),
        "accumulation in manual optimization": lambda: fit(StepsAlone(), accumulate_grad_batches=2),
        "resume past max_epochs": lambda: trainer_with().fit(Trains(), loader(), ckpt_path=saved(epochs=3)),
        "log neither per step nor epoch": lambda: fit(logging(on_step=False, on_epoch=False)),
        "log with a reserved name": lambda: fit(logging("x/dataloader_idx_0")),
        "log with an unknown reduction": lambda: fit(logging(reduce_fx="median")),
        "log where it can't be": lambda: fit(variant(on_fit_start=log_outside_of_its_hook)),
        "log twice with other arguments": lambda: fit(_logs_differently()),
        "manual_backward in automatic optimization": lambda: fit(_calls_manual_backward()),
        "optimizer_step without the closure": lambda: fit(variant(optimizer_step=lambda self, *args, **kwargs: None)),
        "training_step returns a string": lambda: fit(variant(training_step=lambda self, batch, batch_idx: "loss")),
        "training_step returns a dict without loss": lambda: fit(
            variant(training_step=lambda self, batch, batch_idx: {"los": self.layer(batch).sum()})
        ),
        "misspelt hook": lambda: fit(variant(on_trian_start=lambda self: None)),
        "misspelt hook of a callback": lambda: fit(Trains(), callbacks=[_callback(on_train_epoch_edn=lambda *_: None)]),
        "ModelCheckpoint with a bad mode": lambda: ModelCheckpoint(monitor="x", mode="least"),
        "ModelCheckpoint keeps some of what it can't compare": lambda: ModelCheckpoint(save_top_k=3),
        "EarlyStopping with a bad mode": lambda: EarlyStopping("x", mode="least"),
    },
    ValueError: {
        "unknown strategy": lambda: Trainer(strategy="dpp"),
        "unknown accelerator": lambda: Trainer(accelerator="cpuu"),
        "unknown precision": lambda: Trainer(precision="31-true"),
        "barebones and a logger": lambda: Trainer(barebones=True, logger=True),
        "no nodes": lambda: Trainer(num_nodes=0),
        "accumulation of nothing": lambda: Trainer(accumulate_grad_batches=0),
        "negative logging interval": lambda: Trainer(log_every_n_steps=-1),
        "more epochs at least than at most": lambda: Trainer(min_epochs=3, max_epochs=2),
        "validation beyond the epoch": lambda: fit(Validates(), loader(), loader(), val_check_interval=5),
        "best without a checkpoint callback": lambda: trainer_with().validate(Validates(), loader(), ckpt_path="best"),
        "empty ckpt_path": lambda: trainer_with().fit(Trains(), loader(), ckpt_path=""),
        "hpc without one": lambda: trainer_with().fit(Trains(), loader(), ckpt_path="hpc"),
        "unknown mode of combined loaders": lambda: CombinedLoader([[1]], mode="longest"),  # type: ignore[arg-type]
        "training on one loader after another": lambda: fit(Trains(), CombinedLoader([loader()], "sequential")),
        "log of a dict": lambda: fit(logging(value={"a": 1})),
        "log of a string": lambda: fit(logging(value="1")),
        "log of many numbers": lambda: fit(logging(value=torch.ones(2))),
        "hyper-parameters that are none": lambda: KeepsConfiguration(0.1, 7),
        "seed out of bounds": lambda: seed_everything(2**32),
    },
    TypeError: {
        "a torch module": lambda: fit(nn.Linear(4, 1)),
        "validate without a model": lambda: trainer_with().validate(dataloaders=loader()),
        "test without a model": lambda: trainer_with().test(dataloaders=loader()),
        "predict without a model": lambda: trainer_with().predict(dataloaders=loader()),
        "gradient_clip_val of a wrong type": lambda: Trainer(gradient_clip_val="1"),  # type: ignore[arg-type]
        "a loader that can't be iterated": lambda: fit(Trains(), 3),
        "scheduler without state": lambda: fit(optimized_by(lambda self: _with_scheduler(self, Stateless))),
        "load_from_checkpoint of an instance": lambda: Trains().load_from_checkpoint("x.ckpt"),
        "misspelt argument": lambda: Trainer(max_epoch=3),  # type: ignore[call-arg]
    },
    RuntimeError: {
        "two optimizers in automatic optimization": lambda: fit(optimized_by(lambda self: [sgd(self), sgd(self)])),
        "two loaders for a step that takes one": lambda: trainer_with().validate(Validates(), [loader(), loader()]),
        "EarlyStopping's metric missing": lambda: fit(
            Validates(), loader(), loader(), callbacks=[EarlyStopping("nowhere")]
        ),
        "two callbacks with one state key": lambda: Trainer(callbacks=[Stateful(), Stateful()]),
        "module without a trainer": lambda: Trains().trainer,
        "conflicting hyper-parameters": lambda: trainer_with(logger=CSVLogger("logs")).fit(
            KeepsConfiguration(0.1), datamodule=DataWithRate(0.2)
        ),
        "loss without grad": lambda: fit(variant(training_step=lambda self, batch, batch_idx: torch.ones(1).sum())),
    },
    NotImplementedError: {
        "retired epoch_end hook": lambda: fit(variant(training_epoch_end=lambda self, outputs: None)),
    },
    KeyError: {
        "resume from weights only": lambda: trainer_with().fit(Trains(), loader(), ckpt_path=saved(weights_only=True)),
        "Fabric loads a key that isn't there": lambda: _loads_strictly(),  # noqa: PLW0108  # it's defined below
    },
    FileNotFoundError: {
        "checkpoint that isn't there": lambda: trainer_with().fit(Trains(), loader(), ckpt_path="nowhere.ckpt"),
    },
    AttributeError: {
        "save before there's a model": lambda: Trainer(max_epochs=1).save_checkpoint("x.ckpt"),
    },
}


REASONS = {
    "negative limit": "`limit_train_batches` must",
    "fraction above one": "`limit_val_batches` must",
    "negative fast_dev_run": "`fast_dev_run` must",
    "max_epochs below -1": "`max_epochs` must",
    "max_steps below -1": "`max_steps` must",
    "unknown clip algorithm": "`gradient_clip_algorithm` must",
    "two precisions": "`plugins` holds two",
    "no plugin at all": "`plugins` takes",
    "no devices": "`devices` must",
    "unavailable accelerator": "isn't available on this machine",
    "unknown profiler": "`profiler` must",
    "two progress bars": "at most one progress bar",
    "checkpoints wanted and switched off": "`enable_checkpointing=False` can't go with",
    "no training_step": "needs `Model.training_step",
    "no configure_optimizers": "needs `Model.configure_optimizers",
    "no validation_step": "needs `Trains.validation_step",
    "no test_step": "needs `Trains.test_step",
    "no predict_step or forward": "needs `predict_step` or `forward`",
    "predict_step is None": "needs `predict_step` or `forward`",
    "loaders and datamodule": "`datamodule` were both given",
    "no training data": "needs training data",
    "strange optimizers": "`configure_optimizers` returned",
    "scheduler of another optimizer": "for an optimizer that it didn't return",
    "plateau without monitor": "`ReduceLROnPlateau` watches a metric",
    "plateau's metric missing": "`monitor='nowhere'`, which wasn't logged",
    "unknown interval": "`interval` of a learning-rate scheduler",
    "clipping in manual optimization": "`Trainer(gradient_clip_val=1.0)` is for automatic",
    "accumulation in manual optimization": "`Trainer(accumulate_grad_batches=2)` is for automatic",
    "resume past max_epochs": "saved after 3 epochs, but `max_epochs=1`",
    "log neither per step nor epoch": "`on_step=False` and `on_epoch=False`",
    "log with a reserved name": "`/dataloader_idx_",
    "log with an unknown reduction": "reduce_fx='median'",
    "log where it can't be": "can't be used in `on_fit_start`",
    "log twice with other arguments": "twice in `training_step` with different arguments",
    "manual_backward in automatic optimization": "`manual_backward` is for manual",
    "optimizer_step without the closure": "without running `optimizer_closure`",
    "training_step returns a string": "`training_step` must return",
    "training_step returns a dict without loss": "a dict with the keys ['los']",
    "misspelt hook": "Did you mean `on_train_start`",
    "misspelt hook of a callback": "Did you mean `on_train_epoch_end`",
    "ModelCheckpoint with a bad mode": "`mode` must",
    "ModelCheckpoint keeps some of what it can't compare": "`save_top_k=3` needs `monitor`",
    "EarlyStopping with a bad mode": "`mode` must",
    "unknown strategy": "`strategy` must",
    "unknown accelerator": "`accelerator` must",
    "unknown precision": "`precision` must",
    "barebones and a logger": "`barebones=True`",
    "no nodes": "`num_nodes` must",
    "accumulation of nothing": "`accumulate_grad_batches` must",
    "negative logging interval": "`log_every_n_steps` must",
    "more epochs at least than at most": "`min_epochs` must be at most `max_epochs`",
    "validation beyond the epoch": "`val_check_interval` must be at most",
    "best without a checkpoint callback": "`ckpt_path='best'` needs",
    "empty ckpt_path": "`ckpt_path` is empty",
    "hpc without one": "`ckpt_path='hpc'`",
    "unknown mode of combined loaders": "`mode='longest'`",
    "training on one loader after another": "`mode='sequential'`",
    "log of a dict": "a dict; use `self.log_dict`",
    "log of a string": "but got str",
    "log of many numbers": "a tensor of shape (2,)",
    "hyper-parameters that are none": "`save_hyperparameters` takes",
    "seed out of bounds": "`seed` must",
    "a torch module": "`model` must be a LightningModule",
    "validate without a model": "`Trainer.validate()` needs a model",
    "test without a model": "`Trainer.test()` needs a model",
    "predict without a model": "`Trainer.predict()` needs a model",
    "gradient_clip_val of a wrong type": "`gradient_clip_val` must",
    "a loader that can't be iterated": "another iterable of batches is needed",
    "scheduler without state": "needs `state_dict` and `load_state_dict`",
    "load_from_checkpoint of an instance": "is called on the class",
    "misspelt argument": "Did you mean `max_epochs`",
    "two optimizers in automatic optimization": "returned 2 optimizers",
    "two loaders for a step that takes one": "must take the argument `dataloader_idx`",
    "EarlyStopping's metric missing": "`EarlyStopping(monitor='nowhere')` found no such metric",
    "two callbacks with one state key": "under the key 'Stateful'",
    "module without a trainer": "isn't attached to a Trainer",
    "conflicting hyper-parameters": "different values to the hyper-parameters ['rate']",
    "loss without grad": "requires grad",
    "retired epoch_end hook": "Use `on_train_epoch_end` instead",
    "resume from weights only": "saved for weights only",
    "Fabric loads a key that isn't there": "lacks ['b'] of the state",
    "checkpoint that isn't there": "`nowhere.ckpt`",
    "save before there's a model": "`save_checkpoint` needs a module",
}
"""What the message must hold, so that no situation passes for another reason."""


def _bar() -> Callback:
    from lt_callbacks import RichProgressBar  # takes rich with it, which few of these tests need

    return RichProgressBar()


def _callback(**hooks: Any) -> Callback:
    made: Callback = type("Own", (Callback,), hooks)()
    return made


def _logs_differently() -> Any:
    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("x", 1.0)
        self.log("x", 1.0, prog_bar=True)
        loss: Tensor = self.layer(batch).mean()
        return loss

    return variant(training_step=training_step)


def _calls_manual_backward() -> Any:
    def training_step(self: Any, batch: Tensor, batch_idx: int) -> None:
        self.manual_backward(self.layer(batch).mean())

    return variant(training_step=training_step)


def _with_scheduler(model: Any, scheduler: Callable[[Any], Any]) -> Any:
    optimizer = sgd(model)
    return [optimizer], [scheduler(optimizer)]


def _loads_strictly() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.save("state.ckpt", {"a": 1})
    fabric.load("state.ckpt", {"a": 0, "b": 0})


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("expected", "situation", "reason"),
    [
        pytest.param(expected, situation, REASONS[name], id=f"{expected.__name__}: {name}")
        for expected, situations in SITUATIONS.items()
        for name, situation in situations.items()
    ],
)
def test_situation_raises(expected: type[BaseException], situation: Callable[[], object], reason: str) -> None:
    with pytest.raises(expected, match=re.escape(reason)):
        situation()


# --- messages that show the way out ---


@pytest.mark.parametrize(
    ("situation", "parts"),
    [
        (lambda: fit(variant(on_trian_start=lambda self: None)), ["on_trian_start", "`on_train_start`", "not_a_hook"]),
        (lambda: Trainer(max_epoch=3), ["max_epoch", "`max_epochs`"]),  # type: ignore[call-arg]
        (lambda: Trainer(strategy="atuo"), ["`strategy", "'atuo'", "auto"]),
        (lambda: Trainer(gradient_clip_algorithm="nrom"), ["`gradient_clip_algorithm", "'nrom'", "norm"]),
        (lambda: fit(variant(training_step=lambda *_: "loss")), ["`training_step`", "str"]),
        (lambda: fit(variant(training_epoch_end=lambda *_: None)), ["training_epoch_end", "`on_train_epoch_end`"]),
        (lambda: trainer_with().fit(Trains()), ["`train_dataloaders`", "train_dataloader"]),
        (lambda: fit(variant(training_step=lambda *_: torch.ones(1).sum())), ["training_step", "requires grad"]),
    ],
    ids=["hook", "argument", "name", "choice", "return value", "retired hook", "no data", "no grad"],
)
def test_message_names_what_came_and_what_is_accepted(situation: Callable[[], object], parts: list[str]) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        situation()
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_a_method_of_ones_own_may_look_like_a_hook() -> None:
    fit(variant(on_trian_start=not_a_hook(lambda self: None)))


# --- runs that are interrupted ---


class Breaks(IterableDataset[Tensor]):
    """Gives three samples, then fails."""

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.randn(3, 4)
        message = "the disk is gone"
        raise OSError(message)


class LogsEveryStep(Trains):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss


def test_a_loader_that_raises_surfaces_and_leaves_flushed_files() -> None:
    logger = CSVLogger("logs", flush_logs_every_n_steps=100)
    trainer = trainer_with(logger=logger, log_every_n_steps=1)
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(LogsEveryStep(), DataLoader(Breaks(), batch_size=1))
    assert trainer.state.status == "interrupted"
    assert trainer.state.stage is None
    assert trainer.interrupted
    assert logger.log_dir is not None
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2"]


class Notes(Callback):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.heard.append(type(exception).__name__)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.heard.append("teardown")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_callbacks_hear_of_an_exception_and_are_torn_down(error: type[BaseException]) -> None:
    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        raise error

    notes = Notes()
    with pytest.raises((error, SystemExit)) as caught:
        fit(variant(training_step=training_step), callbacks=[notes])
    assert notes.heard == [error.__name__, "teardown"]
    if error is KeyboardInterrupt:
        assert isinstance(caught.value, SystemExit)
        assert caught.value.code == 1


def test_ctrl_c_ends_the_run_with_code_one() -> None:
    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return self.layer(batch).mean()

    trainer = trainer_with(max_epochs=50)
    with pytest.raises(SystemExit) as caught:
        trainer.fit(variant(training_step=training_step), loader())
    assert caught.value.code == 1
    assert trainer.interrupted


def test_an_empty_loader_trains_nothing_and_says_so() -> None:
    trainer = trainer_with()
    with pytest.warns(UserWarning, match=r"(?i)empty|zero|no batch"):
        trainer.fit(Trains(), DataLoader([]))  # type: ignore[arg-type]  # an empty list is an empty dataset
    assert trainer.global_step == 0
    assert trainer.state.status == "finished"


def test_logging_in_a_later_run_is_not_confused_by_a_hook_that_raised() -> None:
    def on_train_start(self: Any) -> None:
        message = "first time only"
        raise ValueError(message)

    model = variant(LogsEveryStep, on_train_start=on_train_start)
    trainer = trainer_with()
    with pytest.raises(ValueError, match="first time only"):
        trainer.fit(model, loader())
    del type(model).on_train_start
    trainer.fit(model, loader())
    assert "loss" in trainer.callback_metrics
