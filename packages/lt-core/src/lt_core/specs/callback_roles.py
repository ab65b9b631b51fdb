"""The Trainer's callbacks: what may be given, and which of them can't be together."""

from collections.abc import Iterable, Mapping
from typing import cast

from lt_fabric.argument_checks import instance_hint, refusal
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.roles import Role


def resolve_callbacks(callbacks: object) -> tuple[Callback, ...]:
    """Return the callbacks given as one, several or ``None``; a list of the user's is copied, never changed.

    Raises:
        TypeError: for anything that isn't a callback, also inside a list.
    """
    if callbacks is None:
        return ()
    is_one = isinstance(callbacks, Callback | str | Mapping) or not isinstance(callbacks, Iterable)
    listed = [callbacks] if is_one else cast(Iterable[object], callbacks)
    return tuple(_check_callback(callback) for callback in listed)


def refuse_role_conflicts(
    callbacks: Iterable[Callback],
    *,
    enable_checkpointing: bool | None,
    enable_progress_bar: bool | None,
) -> None:
    """Refuse two progress bars, and callbacks that do what the user has switched off.

    Called when the Trainer is made and again once the module has added its own callbacks.

    Raises:
        MisconfigurationException: naming the callbacks and the argument.
    """
    callbacks = list(callbacks)
    bars = _names(callbacks, Role.PROGRESS)
    if len(bars) > 1:
        message = f"`callbacks` must hold at most one progress bar, but got {bars}. Leave all but one out."
        raise MisconfigurationException(message)
    _refuse_switched_off(bars, "enable_progress_bar", switch=enable_progress_bar)
    _refuse_switched_off(_names(callbacks, Role.CHECKPOINT), "enable_checkpointing", switch=enable_checkpointing)


def _check_callback(value: object) -> Callback:
    if isinstance(value, Callback):
        return value
    message = refusal("callbacks", value, accepted="a Callback, a list of such, or None", hint=instance_hint(value))
    raise TypeError(message)


def _names(callbacks: Iterable[Callback], role: Role) -> list[str]:
    return [type(callback).__name__ for callback in callbacks if callback.role is role]


def _refuse_switched_off(callbacks: list[str], argument: str, *, switch: bool | None) -> None:
    if switch is not False or not callbacks:
        return
    message = f"`{argument}=False` can't go with {callbacks} in `callbacks`. Leave one of the two out."
    raise MisconfigurationException(message)
