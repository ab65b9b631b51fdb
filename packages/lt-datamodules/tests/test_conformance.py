import pytest
import torch
from torch.utils.data import TensorDataset

from lt_datamodules import DigitsDataModule, LightningDataModule
from lt_interfaces.datamodule import DataModule
from lt_interfaces.testing import DataModuleContract


class TestDigitsDataModule(DataModuleContract):
    @pytest.fixture
    def datamodule(self) -> DataModule:
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
        return DigitsDataModule()


class TestFromDatasets(DataModuleContract):
    @pytest.fixture
    def datamodule(self) -> DataModule:
        numbers = TensorDataset(torch.arange(4.0))
        return LightningDataModule.from_datasets(numbers, numbers, numbers, numbers)


class TestBareDataModule(DataModuleContract):
    """What users derive from keeps every promise that needs no data."""

    loaders = ()

    @pytest.fixture
    def datamodule(self) -> DataModule:
        return LightningDataModule()
