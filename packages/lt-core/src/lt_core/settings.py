"""Attributes of the Trainer that show one thing each: a setting as it was given, or whether a stage runs."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from lt_core.specs import TrainerSpecs
from lt_fabric.runtime import Runtime
from lt_interfaces.progress import FitProgress
from lt_interfaces.states import RunningStage

Value = TypeVar("Value")


class Setting(Generic[Value]):
    """Shows a setting of the Trainer, resolved: ``trainer.max_steps``. It can't be assigned."""

    def __init__(self, read: Callable[[TrainerSpecs], Value]) -> None:
        self._read: Final = read
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, trainer: Any, owner: type) -> Value:
        return self._read(trainer._specs) if trainer is not None else self  # type: ignore[return-value]

    def __set__(self, trainer: Any, value: Any) -> None:
        message = f"`Trainer.{self._name}` can't be assigned; pass it to the constructor."
        raise AttributeError(message)


class RuntimeFact(Generic[Value]):
    """Shows a part that the Trainer runs on, or what it says: ``trainer.global_rank``. It can't be assigned."""

    def __init__(self, read: Callable[[Runtime], Value]) -> None:
        self._read: Final = read

    def __get__(self, trainer: Any, owner: type) -> Value:
        return self._read(trainer._runtime) if trainer is not None else self  # type: ignore[return-value]

    def __set__(self, trainer: Any, value: Any) -> None:
        message = "The parts of a run know this; it can't be assigned to the Trainer."
        raise AttributeError(message)


class Counter(Generic[Value]):
    """Shows what has been counted of the last or current fit: ``trainer.global_step``. It can't be assigned."""

    def __init__(self, read: Callable[[FitProgress], Value]) -> None:
        self._read: Final = read

    def __get__(self, trainer: Any, owner: type) -> Value:
        return self._read(trainer._progress) if trainer is not None else self  # type: ignore[return-value]

    def __set__(self, trainer: Any, value: Any) -> None:
        message = "The run counts this; it can't be assigned to the Trainer."
        raise AttributeError(message)


class FitFact(Generic[Value]):
    """Shows something of the last or current fit: ``trainer.gradient_norm``. It can't be assigned.

    Args:
        read: gets it from the run.
        without_fit: makes what's shown before the first fit.
    """

    def __init__(self, read: Callable[[Any], Value], without_fit: Callable[[], Value]) -> None:
        self._read: Final = read
        self._without_fit: Final = without_fit

    def __get__(self, trainer: Any, owner: type) -> Value:
        if trainer is None:
            return self  # type: ignore[return-value]
        run = trainer._fit_run
        return self._without_fit() if run is None else self._read(run)

    def __set__(self, trainer: Any, value: Any) -> None:
        message = "The run has this; it can't be assigned to the Trainer."
        raise AttributeError(message)


class StageFlag:
    """Shows whether the Trainer is in a stage: ``trainer.training``. Assigning enters or leaves it."""

    def __init__(self, stage: RunningStage) -> None:
        self._stage: Final = stage

    def __get__(self, trainer: Any, owner: type) -> bool:
        return trainer is not None and trainer.state.stage is self._stage

    def __set__(self, trainer: Any, value: bool) -> None:
        trainer.state.stage = self._stage if value else None
