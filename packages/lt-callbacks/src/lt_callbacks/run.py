"""The Trainer as callbacks see it."""

from typing import Protocol

from lt_interfaces.trainer_view import RunControl, TrainerView


class Run(TrainerView, RunControl, Protocol):
    """A run that can be read and asked for something: what every hook gets as ``trainer``."""
