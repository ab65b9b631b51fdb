"""A value is read from the last place that has it, and set in all, as Lightning's tuner expects."""

from types import SimpleNamespace

import pytest

from lt_core import LightningModule
from lt_core.attribute_holders import lightning_getattr, lightning_hasattr, lightning_setattr
from lt_datamodules import LightningDataModule


class Module(LightningModule):
    def __init__(self, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.own = 1


class Data(LightningDataModule):
    def __init__(self, batch_size: int = 5, workers: int = 6) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.only_here = 7


def attached() -> Module:
    module = Module()
    module._trainer = SimpleNamespace(datamodule=Data())
    return module


def test_a_value_is_found_at_the_module_its_hyperparameters_and_its_data() -> None:
    module = attached()
    values = {name: lightning_getattr(module, name) for name in ("own", "batch_size", "workers", "only_here")}
    assert values == {"own": 1, "batch_size": 5, "workers": 6, "only_here": 7}
    assert lightning_getattr(Module(), "batch_size") == 2


def test_what_isnt_there_isnt_found() -> None:
    assert lightning_hasattr(attached(), "only_here")
    assert not lightning_hasattr(Module(), "only_here")
    with pytest.raises(AttributeError, match=r"`batch_sise` is neither.* of Module,.*`batch_size`"):
        lightning_getattr(Module(), "batch_sise")
    with pytest.raises(AttributeError, match="`nothing` is neither"):
        lightning_setattr(Module(), "nothing", 3)


def test_all_places_are_set() -> None:
    module = attached()
    module.batch_size, data = 99, module._trainer.datamodule
    lightning_setattr(module, "batch_size", 33)
    assert (module.batch_size, module.hparams.batch_size, data.hparams.batch_size) == (33, 33, 33)
    assert not hasattr(data, "batch_size")
