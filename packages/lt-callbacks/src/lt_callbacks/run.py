"""The Trainer as callbacks see it."""

from typing import Protocol

from lt_interfaces.accelerator import Accelerator
from lt_interfaces.precision import Precision
from lt_interfaces.strategy import Strategy
from lt_interfaces.trainer_view import RunControl, TrainerView


class Run(TrainerView, RunControl, Protocol):
    """A run that can be read and asked for something: what every hook gets as ``trainer``."""


class PlacedRun(Run, Protocol):
    """A run for callbacks that deal with the devices and processes it's on."""

    @property
    def accelerator(self) -> Accelerator:
        """The kind of its devices."""

    @property
    def precision_plugin(self) -> Precision:
        """The number formats it computes in."""

    @property
    def strategy(self) -> Strategy:
        """How the module is laid out over them."""
