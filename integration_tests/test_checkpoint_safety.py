"""Every file that a run writes loads without pickle, and what couldn't be is refused before the first step."""

import csv
import zipfile
from datetime import timedelta
from enum import Enum, Flag, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

import lt_callbacks
from lt_callbacks import ModelCheckpoint
from lt_core import LightningModule, Trainer
from lt_datamodules import LightningDataModule
from lt_fabric import Fabric
from lt_interfaces.commit import is_whole
from lt_interfaces.testing import RegressionDataset, TinyRegressor
from lt_loggers import CSVLogger, TensorBoardLogger


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Access(Flag):
    READ = 1
    WRITE = 2


class Size(NamedTuple):
    width: int
    root: Path


VALUES: dict[str, Any] = {
    "path": Path("data/digits"),
    "pure_path": PurePosixPath("/data"),
    "color": Color.RED,
    "level": Level.HIGH,
    "access": Access.READ | Access.WRITE,
    "span": timedelta(days=1, seconds=2, microseconds=3),
    "rate": np.float64(0.1),
    "half": np.float16(0.5),
    "count": np.int64(3),
    "flag": np.bool_(True),
    "name": np.str_("net"),
    "weights": np.array([[1.5, 2.5]], dtype=np.float32),
    "big_endian": np.arange(3, dtype=">i4"),
    "size": Size(3, Path("a")),
    "choices": frozenset({Color.RED}),
    "nested": {"paths": [Path("a"), (Path("b"), None)], Color.RED: {1, 2}},
    "dtype": torch.bfloat16,
    "tensor": torch.arange(3),
}


def same(one: Any, other: Any) -> bool:
    """Compare values and their types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(torch.equal(one, other) if isinstance(one, Tensor) else one == other)


class Net(LightningModule):
    """Has hyper-parameters of every kind and a word for its checkpoints."""

    flops_per_batch = 1000

    def __init__(self, values: Any = None, rate: Any = 0.01, **others: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), TinyRegressor())
        self.steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.steps += 1
        loss = F.mse_loss(self.network(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.mse_loss(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.rate)
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["made_in"] = {"folder": Path("here"), "at": np.int64(self.steps)}


class Data(LightningDataModule):
    def __init__(self, root: Any = Path("data"), batch: Any = 8) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.seen: list[Path] = []

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(RegressionDataset(4, 32), batch_size=8, shuffle=True)

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(RegressionDataset(4, 16), batch_size=8)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": [Path("a")], "span": timedelta(seconds=1)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


def every_callback(folder: Path) -> list[Any]:
    """Return one of each callback that there is (one bar and one summary, as more aren't allowed)."""
    return [
        ModelCheckpoint(folder / "best", monitor="val_loss", save_top_k=2, save_last=True),
        ModelCheckpoint(folder / "steps", every_n_train_steps=3, save_top_k=-1),
        ModelCheckpoint(folder / "light", save_weights_only=True, save_last="link"),
        ModelCheckpoint(folder / "timed", train_time_interval=timedelta(microseconds=1)),
        lt_callbacks.EarlyStopping("val_loss", patience=5),
        lt_callbacks.LearningRateMonitor(),
        lt_callbacks.LambdaCallback(on_train_start=lambda trainer, module: None),
        lt_callbacks.Timer(timedelta(minutes=5)),
        lt_callbacks.TQDMProgressBar(),
        lt_callbacks.ModelSummary(),
        lt_callbacks.DeviceStatsMonitor(),
        lt_callbacks.EMAWeightAveraging(),
        lt_callbacks.OnExceptionCheckpoint(folder / "failed"),
        lt_callbacks.SpikeDetection(rtol=1e6, exclude_batches_path=folder / "spikes"),
        lt_callbacks.ThroughputMonitor(len),
    ]


def callbacks_that_want_a_run_of_their_own() -> list[Any]:
    """Return one of each callback that doesn't go with the others."""
    return [
        lt_callbacks.BackboneFinetuning(unfreeze_backbone_at_epoch=1),
        lt_callbacks.BatchSizeFinder(max_trials=2, batch_arg_name="batch"),
        lt_callbacks.GradientAccumulationScheduler({0: 1, 1: 2}),
        lt_callbacks.LearningRateFinder(num_training_steps=20, attr_name="rate"),
        lt_callbacks.WeightAveraging(),
    ]


BASES_AND_TWINS = {
    "BaseFinetuning",
    "BasePredictionWriter",
    "Callback",
    "Checkpoint",
    "ProgressBar",
    "RichProgressBar",
    "RichProgressBarTheme",
    "RichModelSummary",
    # not callbacks, but what some give or are given
    "LearningRateSearch",
    "Tuner",
    "WriteInterval",
}


def trainer_in(folder: Path, **arguments: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    return Trainer(accelerator="cpu", default_root_dir=folder, **(quiet | arguments))


def test_every_file_of_a_run_with_everything_on_loads_without_pickle(tmp_path: Path) -> None:
    callbacks = every_callback(tmp_path)
    known = {type(callback).__name__ for callback in [*callbacks, *callbacks_that_want_a_run_of_their_own()]}
    assert known | BASES_AND_TWINS == set(lt_callbacks.__all__)
    loggers = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="tensorboard")]
    on = {"enable_progress_bar": True, "enable_model_summary": True, "accumulate_grad_batches": 2}
    trainer = trainer_in(tmp_path, callbacks=callbacks, logger=loggers, max_epochs=3, **on)
    trainer.fit(Net(VALUES), Data())
    trainer.save_checkpoint(tmp_path / "by_hand.ckpt")
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    callbacks[0].to_yaml()
    fabric = Fabric(accelerator="cpu")
    optimizer = trainer.optimizers[0]
    fabric.save(tmp_path / "fabric.ckpt", {"net": Net(), "optimizer": optimizer, "values": VALUES})

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    readers = {".ckpt": check_checkpoint, ".yaml": check_yaml, ".csv": check_csv}
    kinds = {path.suffix for path in files if "tfevents" not in path.name}
    assert kinds == set(readers), "a new kind of file needs a reader here that runs no code"
    for path in files:
        if "tfevents" not in path.name:
            readers[path.suffix](path)
    assert len([path for path in files if path.suffix == ".ckpt"]) >= 10


@pytest.mark.parametrize(
    "callback", callbacks_that_want_a_run_of_their_own(), ids=lambda callback: type(callback).__name__
)
def test_files_of_a_run_with_a_callback_that_is_alone_load_without_pickle(callback: Any, tmp_path: Path) -> None:
    class WithBackbone(Net):
        def __init__(self, rate: Any = 0.01) -> None:
            super().__init__(rate=rate)
            self.backbone = self.network[0]

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam((each for each in self.parameters() if each.requires_grad), lr=self.hparams.rate)

    class DataOfAnySize(Data):
        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(RegressionDataset(4, 32), batch_size=self.hparams.batch)

    trainer = trainer_in(tmp_path, callbacks=[callback], max_epochs=2)
    trainer.fit(WithBackbone(), datamodule=DataOfAnySize(root="disk", batch=8))
    path = Path(trainer.checkpoint_callback.best_model_path)
    check_checkpoint(path)
    stateful = bool(callback.state_dict())
    assert (callback.state_key in torch.load(path, weights_only=True)["callbacks"]) == stateful


def check_checkpoint(path: Path) -> None:
    assert is_whole(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert torch.load(path, weights_only=True)


def check_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def check_csv(path: Path) -> None:
    with path.open(newline="") as file:
        assert list(csv.DictReader(file))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the checkpoint of a short run with hyper-parameters of every kind."""
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(Net(VALUES, **(VALUES | {"rate": 0.01})), Data(root=Path("disk"), batch=np.int32(4)))
    return Path(trainer.checkpoint_callback.best_model_path)


def test_hyperparameters_come_back_with_their_types(saved: Path) -> None:
    net = Net.load_from_checkpoint(saved)
    for name, value in (VALUES | {"rate": 0.01}).items():
        assert same(net.hparams[name], value), name
    for name, value in VALUES.items():
        assert same(net.hparams["values"][name], value), name
    data = Data.load_from_checkpoint(saved)
    assert same(dict(data.hparams), {"root": Path("disk"), "batch": np.int32(4)})


def test_states_and_words_of_hooks_come_back_with_their_types(saved: Path, tmp_path: Path) -> None:
    heard = []

    class Listening(Net):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            heard.append(checkpoint["made_in"])

    data, net = Data(), Listening(VALUES)
    trainer_in(tmp_path, max_epochs=2).fit(net, data, ckpt_path=saved)
    assert same(heard[0], {"folder": Path("here"), "at": np.int64(4)})
    assert data.seen == [Path("a")]


@pytest.mark.parametrize("value", [lambda: None, object(), nn.ReLU(), np.datetime64("2020-01-01"), type])
def test_what_no_checkpoint_can_hold_is_refused_before_the_first_step(tmp_path: Path, value: Any) -> None:
    net = Net()
    net.hparams.update({"layers": [1, {"activation": value}]})
    with pytest.raises(TypeError, match=r"`hyper_parameters\['layers'\]\[1\]\['activation'\]`") as error:
        trainer_in(tmp_path, max_epochs=1).fit(net, Data())
    assert "save_hyperparameters(ignore=['layers'])" in str(error.value)
    assert net.steps == 0
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_data_modules_are_refused_too(tmp_path: Path) -> None:
    net = Net()
    with pytest.raises(TypeError, match=r"`hyper_parameters\['root'\]`.*ignore=\['root'\]"):
        trainer_in(tmp_path, max_epochs=1).fit(net, Data(root=lambda: None))
    assert net.steps == 0


def test_a_word_of_a_hook_that_no_checkpoint_can_hold_costs_no_earlier_one(tmp_path: Path) -> None:
    class Careless(Net):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            if self.current_epoch:
                checkpoint["transform"] = {"of": lambda: None}

    keep = ModelCheckpoint(tmp_path / "kept", filename="net", enable_version_counter=False)
    with pytest.raises(TypeError, match=r"`transform\['of'\]`"):
        trainer_in(tmp_path, callbacks=[keep], max_epochs=3).fit(Careless(), Data())
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["net.ckpt"]
    assert torch.load(tmp_path / "kept" / "net.ckpt", weights_only=True)["global_step"] == 4
