"""Everything about a data set in one class, and ready data modules."""

from lt_datamodules.datamodule import LightningDataModule
from lt_datamodules.digits import DigitsDataModule

__all__ = ["DigitsDataModule", "LightningDataModule"]
