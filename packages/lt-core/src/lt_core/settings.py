"""Attributes of the Trainer that show one thing each: a setting as it was given, or whether a stage runs."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from lt_core.specs import TrainerSpecs
from lt_interfaces.states import RunningStage
from lt_interfaces.strategy import Strategy

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


class StrategyFact(Generic[Value]):
    """Shows what the strategy says of this process and its job: ``trainer.global_rank``. It can't be assigned."""

    def __init__(self, read: Callable[[Strategy], Value]) -> None:
        self._read: Final = read

    def __get__(self, trainer: Any, owner: type) -> Value:
        return self._read(trainer.strategy) if trainer is not None else self  # type: ignore[return-value]

    def __set__(self, trainer: Any, value: Any) -> None:
        message = "The strategy knows this; it can't be assigned to the Trainer."
        raise AttributeError(message)


class StageFlag:
    """Shows whether the Trainer is in a stage: ``trainer.training``. Assigning enters or leaves it."""

    def __init__(self, stage: RunningStage) -> None:
        self._stage: Final = stage

    def __get__(self, trainer: Any, owner: type) -> bool:
        return trainer is not None and trainer.state.stage is self._stage

    def __set__(self, trainer: Any, value: bool) -> None:
        trainer.state.stage = self._stage if value else None
