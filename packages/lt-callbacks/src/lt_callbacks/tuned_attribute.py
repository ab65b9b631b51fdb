"""A setting that a module, a datamodule and their hyper-parameters may hold under one name."""

from collections.abc import Iterable
from typing import Any


class TunedAttribute:
    """Reads and sets a setting wherever it's held.

    Args:
        name: of the attribute, and of the hyper-parameter.
        owners: the objects that may have it, ``None`` among them for those that aren't there.

    >>> class Model: ...
    >>> model = Model()
    >>> model.hparams = {"lr": 0.1}
    >>> lr = TunedAttribute("lr", [model, None])
    >>> lr.set(0.2)
    >>> lr.get(), model.hparams
    (0.2, {'lr': 0.2})
    """

    def __init__(self, name: str, owners: Iterable[Any]) -> None:
        present = [owner for owner in owners if owner is not None]
        self.name = name
        self._objects = [owner for owner in present if hasattr(owner, name)]
        hparams = [getattr(owner, "hparams", None) or {} for owner in present]
        self._hparams = [held for held in hparams if name in held]

    @property
    def is_held(self) -> bool:
        """Whether anybody has it."""
        return bool(self._objects or self._hparams)

    def get(self) -> Any:
        """Return the setting: an attribute counts before a hyper-parameter, the first owner before others."""
        return getattr(self._objects[0], self.name) if self._objects else self._hparams[0][self.name]

    def set(self, value: Any) -> None:
        """Let everybody who has it hold this value."""
        for owner in self._objects:
            setattr(owner, self.name, value)
        for held in self._hparams:
            held[self.name] = value
