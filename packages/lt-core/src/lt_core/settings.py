"""Attributes of the Trainer that show one thing each: a setting as it was given, or whether a stage runs."""

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from lt_core.specs import TrainerSpecs, trainer_specs
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.roles import Role
from lt_interfaces.states import RunningStage, TrainerStatus

Value = TypeVar("Value")

_INTERVALS: Final = ("val_check_interval", "check_val_every_n_epoch")


class Setting(Generic[Value]):
    """Shows a setting of the Trainer; it may be assigned between two calls: ``trainer.limit_val_batches = 1``.

    What's assigned is checked like the argument of that name. Within a run it holds from the next call on, and says so.

    Args:
        part: the spec that holds it.
    """

    def __init__(self, part: str) -> None:
        self._part: Final = part
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, trainer: Any, owner: type) -> Value:
        if trainer is None:
            return self  # type: ignore[return-value]  # what a property of the class itself is
        value: Value = getattr(getattr(trainer._specs, self._part), self._name)
        return value

    def __set__(self, trainer: Any, value: Any) -> None:
        trainer._specs = adjusted(trainer._specs, self._part, name=self._name, value=value)
        if trainer.state.status is TrainerStatus.RUNNING:
            rank_zero_warn(f"`trainer.{self._name} = {value!r}` within a run holds from the next call on.")


def adjusted(specs: TrainerSpecs, part: str, *, name: str, value: Any) -> TrainerSpecs:
    """Return the specs with one setting changed, checked like the Trainer's argument of that name.

    Raises:
        MisconfigurationException: for a value that the Trainer wouldn't take.
        TypeError: for a wrong type.

    >>> adjusted(trainer_specs(), "limits", name="limit_val_batches", value=3).limits.limit_val_batches
    3
    """
    known = getattr(specs, part)
    # Which intervals there can be depends on whether batches are counted across epochs; the default goes with both.
    beside = {other: getattr(known, other) for other in _INTERVALS if name in _INTERVALS}
    given = {other: None if isinstance(one, float) and one == 1.0 else one for other, one in beside.items()}
    checked = getattr(trainer_specs(**{**given, name: value}), part)
    return replace(specs, **{part: replace(known, **{name: getattr(checked, name)})})


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


def first(found: list[Any]) -> Any:
    """Return the first of a list, ``None`` of an empty one."""
    return next(iter(found), None)


class WithRole(property, Generic[Value]):
    """Shows the callbacks of a kind that the Trainer knows: ``trainer.checkpoint_callbacks``.

    Args:
        role: the kind.
        pick: what's shown of them; by default all.
    """

    def __init__(self, role: Role, pick: Callable[[list[Any]], Any] = list) -> None:
        super().__init__(lambda trainer: pick(trainer._with_role(role)))

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
