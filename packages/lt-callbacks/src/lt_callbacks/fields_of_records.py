"""Attributes of a callback that are kept in a frozen record, which is replaced when one of them is assigned."""

from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

Value = TypeVar("Value")


class FieldOf(Generic[Value]):
    """Shows a field of a record that a callback holds, and takes another value: ``early_stopping.patience = 5``.

    Args:
        place: the callback's attribute that holds the record, by dots.
        field: the field, where it's called otherwise there.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Limits:
    ...     patience: int = 3
    >>> class Patient:
    ...     limits = Limits()
    ...     patience = FieldOf[int]("limits")
    >>> patient = Patient()
    >>> patient.patience = 5
    >>> patient.limits
    Limits(patience=5)
    """

    def __init__(self, place: str, field: str = "") -> None:
        *path, self._record = place.split(".")
        self._path: Final = path
        self._field = field

    def __set_name__(self, owner: type, name: str) -> None:
        self._field = self._field or name

    def __get__(self, callback: Any, owner: type) -> Value:
        if callback is None:
            return self  # type: ignore[return-value]  # as a property of the class itself is
        value: Value = getattr(getattr(self._holder(callback), self._record), self._field)
        return value

    def __set__(self, callback: Any, value: Value) -> None:
        holder = self._holder(callback)
        setattr(holder, self._record, replace(getattr(holder, self._record), **{self._field: value}))

    def _holder(self, callback: Any) -> Any:
        for name in self._path:
            callback = getattr(callback, name)
        return callback
