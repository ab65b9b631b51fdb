"""The two frameworks whose files are interchanged, each as the handful of names that a script imports."""

import importlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import lt_callbacks
import lt_core
import lt_datamodules


@dataclass(frozen=True)
class Side:
    """One framework."""

    name: str
    LightningModule: Any
    LightningDataModule: Any
    Trainer: Any
    Callback: Any
    ModelCheckpoint: Any
    EarlyStopping: Any

    def __str__(self) -> str:
        return self.name


OURS = Side(
    "lt",
    lt_core.LightningModule,
    lt_datamodules.LightningDataModule,
    lt_core.Trainer,
    lt_callbacks.Callback,
    lt_callbacks.ModelCheckpoint,
    lt_callbacks.EarlyStopping,
)
NAMES = ("lightning.pytorch", "pytorch_lightning")
"""The newest release, and the first of the series, which still installs beside it under its other name."""


@cache
def lightning(name: str) -> Side:
    """Import a release of Lightning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl = importlib.import_module(name)
    logging.getLogger(name).setLevel(logging.ERROR)
    return Side(
        name,
        pl.LightningModule,
        pl.LightningDataModule,
        pl.Trainer,
        pl.Callback,
        pl.callbacks.ModelCheckpoint,
        pl.callbacks.EarlyStopping,
    )


def quietly(side: Side, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call something of a framework; only our warnings count."""
    if side is OURS:
        return call(*args, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **kwargs)
