from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Net, rows, trainer_with
from torch import nn

from lt_core import Trainer
from lt_core.job_order import check_model
from lt_interfaces.errors import MisconfigurationException


class Data:
    """A datamodule of somebody else's."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def prepare_data(self) -> None: ...

    def setup(self, stage: str) -> None: ...

    def train_dataloader(self) -> Any:
        self.asked.append("train")
        return rows(1)

    def val_dataloader(self) -> Any:
        self.asked.append("val")
        return rows(1)

    test_dataloader = predict_dataloader = val_dataloader


class WithLoaders(Net):
    """Brings its own data."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def train_dataloader(self) -> Any:
        self.asked.append("train")
        return rows(1)

    def val_dataloader(self) -> Any:
        self.asked.append("val")
        return rows(1)

    test_dataloader = predict_dataloader = val_dataloader


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return trainer_with(tmp_path, num_sanity_val_steps=0)


@pytest.mark.parametrize("model", [nn.Linear(1, 1), Net, "model", 3])
def test_only_lightning_modules_are_trained(model: Any) -> None:
    with pytest.raises(TypeError, match="`model` must be a LightningModule"):
        check_model(model, "fit")


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_evaluating_needs_a_model_once(trainer: Trainer, fn: str) -> None:
    with pytest.raises(TypeError, match=rf"`Trainer\.{fn}\(\)` needs a model"):
        getattr(trainer, fn)(dataloaders=rows())


def test_the_model_used_last_serves_without_being_passed(trainer: Trainer) -> None:
    net = Net()
    expected = trainer.validate(net, rows(1), verbose=False)
    assert trainer.validate(dataloaders=rows(1), verbose=False) == expected
    assert trainer.lightning_module is net


def test_what_is_passed_goes_before_the_modules_own(trainer: Trainer) -> None:
    module = WithLoaders()
    trainer.fit(module, rows(1), rows(1))
    assert module.asked == []


def test_the_module_serves_where_nothing_is_passed(trainer: Trainer) -> None:
    module = WithLoaders()
    trainer.fit(module)
    assert module.asked == ["train", "val"]


@pytest.mark.parametrize("by_position", [True, False])
def test_a_datamodule_serves_by_name_or_in_the_loaders_place(trainer: Trainer, by_position: bool) -> None:
    module, data = WithLoaders(), Data()
    if by_position:
        trainer.fit(module, data)
        trainer.validate(module, data, verbose=False)
    else:
        trainer.fit(module, datamodule=data)
        trainer.validate(module, datamodule=data, verbose=False)
    assert data.asked == ["train", "val", "val"]
    assert module.asked == []
    assert trainer.datamodule is data


@pytest.mark.parametrize(
    ("fn", "passed"),
    [
        ("fit", {"train_dataloaders": 1}),
        ("fit", {"val_dataloaders": 1}),
        ("validate", {"dataloaders": 1}),
        ("test", {"dataloaders": 1}),
        ("predict", {"dataloaders": 1}),
    ],
)
def test_loaders_beside_a_datamodule_are_refused(trainer: Trainer, fn: str, passed: dict[str, Any]) -> None:
    loaders = dict.fromkeys(passed, rows(1))
    with pytest.raises(MisconfigurationException, match="pass one of them"):
        getattr(trainer, fn)(Net(), datamodule=Data(), **loaders)


def test_a_datamodule_belongs_to_the_call_it_was_passed_to(trainer: Trainer) -> None:
    module, data = WithLoaders(), Data()
    trainer.fit(module, datamodule=data)
    data.asked.clear()
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module)
    assert data.asked == []
    assert trainer.datamodule is None
