"""The limits that users change between two fits: ``trainer.fit_loop.max_epochs = 3``."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from lt_core.specs import LimitsSpec, TrainerSpecs, trainer_specs


class HasLimits(Protocol):
    """A Trainer, as far as its limits go."""

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs."""

    @property
    def max_steps(self) -> int:
        """The limit in optimizer steps."""


class FitLoop:
    """Two limits of the next `Trainer.fit`, to be read and set."""

    def __init__(self, trainer: HasLimits, change: Callable[..., None]) -> None:
        self._trainer = trainer
        self._change = change

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs; -1: none."""
        return self._trainer.max_epochs

    @max_epochs.setter
    def max_epochs(self, value: int | None) -> None:
        self._change(max_epochs=value)

    @property
    def max_steps(self) -> int:
        """The limit in optimizer steps; -1: none."""
        return self._trainer.max_steps

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self._change(max_steps=value)


def changed_limits(limits: LimitsSpec, **changes: Any) -> LimitsSpec:
    """Return the limits with some changed, checked like the Trainer's arguments of the same names."""
    checked = trainer_specs(**changes).limits
    return replace(limits, **{name: getattr(checked, name) for name in changes})


def with_accumulation(specs: TrainerSpecs, micro_batches: int) -> TrainerSpecs:
    """Return the specs with another number of micro-batches per step, checked like the Trainer's argument."""
    checked = trainer_specs(accumulate_grad_batches=micro_batches).optimization.accumulate_grad_batches
    return replace(specs, optimization=replace(specs.optimization, accumulate_grad_batches=checked))
