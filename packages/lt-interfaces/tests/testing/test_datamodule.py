from typing import Any

import pytest
from toy_parts import ToyDataModule

from lt_interfaces.datamodule import DataModule
from lt_interfaces.testing import DataModuleContract


class TestToyDataModule(DataModuleContract):
    @pytest.fixture
    def datamodule(self) -> DataModule:
        return ToyDataModule()


class Forgetful(ToyDataModule):
    def setup(self, stage: str) -> None:
        """Makes nothing."""

    def teardown(self, stage: str) -> None:
        del self.rows

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return None


def test_loaders_that_need_more_than_setup_are_found_out() -> None:
    with pytest.raises(AttributeError, match="rows"):
        DataModuleContract().test_every_loader_gives_a_batch_after_setup(Forgetful())


def test_a_teardown_that_needs_a_setup_is_found_out() -> None:
    with pytest.raises(AttributeError, match="rows"):
        DataModuleContract().test_tears_down_without_having_been_set_up(Forgetful())


def test_a_lost_batch_is_found_out() -> None:
    with pytest.raises(TypeError):
        DataModuleContract().test_moves_a_batch_and_keeps_its_values(Forgetful())
