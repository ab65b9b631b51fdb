"""The Trainer as callbacks and loggers see it; type checked with the packages, so that signatures fit the contracts."""

from lt_core import Trainer
from lt_interfaces import RunControl, TrainerView


def as_view(trainer: Trainer) -> TrainerView:
    """Let a type checker compare every reading and collective."""
    return trainer


def as_control(trainer: Trainer) -> RunControl:
    """Let a type checker compare every request."""
    return trainer
