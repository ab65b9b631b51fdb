"""Attributes of the Trainer that show one thing each: a setting as it was given, or whether a stage runs."""

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from lt_core.specs import TrainerSpecs
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


class Fact(property, Generic[Value]):
    """Shows something of what the Trainer runs on, or of the run: ``trainer.global_rank``. It can't be assigned.

    Reading it calls no function of Python's, as callbacks and modules read these at each step.

    Args:
        path: where it's found, by dots, from the Trainer on.
    """

    def __init__(self, path: str) -> None:
        super().__init__(attrgetter(path))

    if TYPE_CHECKING:  # what a property returns is more than its class says

        def __get__(self, trainer: Any, owner: type | None = None) -> Value: ...  # type: ignore[override]


class OfStage(property, Generic[Value]):
    """Shows something of a stage's loaders, in the run that goes on or was last: ``trainer.num_test_batches``.

    Args:
        stage: "val", "test" or "predict".
        path: where it's found, by dots, from the stage's run on.
        default: what's shown before there was such a run.
    """

    def __init__(self, stage: str, path: str, default: Callable[[], Value]) -> None:
        read = attrgetter(path)

        def shown(trainer: Any) -> Value:
            run = trainer._run_of(stage)
            return default() if run is None else read(run)

        super().__init__(shown)

    if TYPE_CHECKING:  # what a property returns is more than its class says

        def __get__(self, trainer: Any, owner: type | None = None) -> Value: ...  # type: ignore[override]


class StageFlag:
    """Shows whether the Trainer is in a stage: ``trainer.training``. Assigning enters or leaves it."""

    def __init__(self, stage: RunningStage) -> None:
        self._stage: Final = stage

    def __get__(self, trainer: Any, owner: type) -> bool:
        return trainer is not None and trainer.state.stage is self._stage

    def __set__(self, trainer: Any, value: bool) -> None:
        trainer.state.stage = self._stage if value else None
