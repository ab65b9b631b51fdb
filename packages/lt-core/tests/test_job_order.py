from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Net, rows, trainer_with
from torch import nn

from lt_core.job_order import Order
from lt_interfaces.errors import MisconfigurationException


class Data:
    prepare_data_per_node = True

    def prepare_data(self) -> None:
        """Prepare nothing."""

    def setup(self, stage: str) -> None:
        """Set nothing up."""

    def train_dataloader(self) -> Any:
        return rows(3)

    def test_dataloader(self) -> Any:
        return rows(3)

    def state_dict(self) -> dict[str, Any]:
        return {}


class WithLoaders(Net):
    def train_dataloader(self) -> Any:
        return rows(1)

    def val_dataloader(self) -> Any:
        return rows(2)


def order(loaders: Any = None, datamodule: Any = None) -> Order:
    return Order(Net(), loaders, datamodule, None, None)


def test_loaders_passed_go_before_the_modules() -> None:
    passed = rows(4)
    assert order(passed).source("train", WithLoaders(), passed).request() is passed
    assert len(order().source("train", WithLoaders(), None).request()) == 1


def test_datamodule_goes_before_the_module_and_is_not_filled_in_for() -> None:
    mine = order(datamodule=Data())
    assert len(mine.source("train", WithLoaders(), None).request()) == 3
    assert not mine.source("val", WithLoaders(), None).is_defined


def test_datamodule_may_be_passed_in_the_loaders_place(tmp_path: Path) -> None:
    trainer, data = trainer_with(tmp_path, limit_val_batches=0), Data()
    trainer.fit(Net(), data)
    assert trainer.datamodule is data
    assert trainer.num_training_batches == 3
    trainer.test(Net(), data, verbose=False)
    assert trainer.num_test_batches == [3]


@pytest.mark.parametrize(
    "arguments", [{"train_dataloaders": rows()}, {"val_dataloaders": rows()}, {"train_dataloaders": Data()}]
)
def test_fit_takes_loaders_or_a_datamodule(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="`datamodule`"):
        trainer_with(tmp_path).fit(Net(), datamodule=Data(), **arguments)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluation_takes_loaders_or_a_datamodule(stage: str, tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="`datamodule`"):
        getattr(trainer_with(tmp_path), stage)(Net(), rows(), datamodule=Data())


@pytest.mark.parametrize("model", [1, nn.Linear(1, 1), Net])
def test_model_of_another_kind_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a LightningModule"):
        trainer_with(tmp_path).fit(model, rows())


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_model_may_be_left_out_once_there_was_one(stage: str, tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, limit_val_batches=1)
    with pytest.raises(TypeError, match="needs a model"):
        getattr(trainer, stage)(dataloaders=rows(1))
    net = Net()
    trainer.fit(net, rows(), rows(1))
    getattr(trainer, stage)(dataloaders=rows(1))
    assert trainer.lightning_module is net
