"""The table of Lightning's names: which of lt's each one is, and what to use instead of those that lt doesn't have.

Modules are called as in Lightning without its root: `pytorch.callbacks` stands for `lightning.pytorch.callbacks` and
`pytorch_lightning.callbacks`, `fabric.loggers` for `lightning.fabric.loggers` and `lightning_fabric.loggers`, and the
empty name for `lightning` itself.
"""

from collections.abc import Mapping
from typing import Final

from lt_compat.names import callbacks, core, fabric, hardware, loggers, plugins, tools, utilities
from lt_compat.names.entries import Missing, Names, Owner
from lt_compat.names.private import instead_of_private

__all__ = [
    "LIGHTNING_VERSION",
    "MODULES",
    "Missing",
    "Names",
    "Owner",
    "instead_of_private",
    "is_module",
    "modules_below",
    "names_of",
]

LIGHTNING_VERSION: Final = "2.6.0"
"""The version of Lightning whose names and files these are, as checkpoints say it too."""

_PARTS: Final = (core, callbacks, loggers, plugins, hardware, tools, utilities, fabric)
MODULES: Final[Mapping[str, Names]] = {name: names for part in _PARTS for name, names in part.MODULES.items()}
"""Every module of Lightning's that has names, with them."""


def _tree(modules: Mapping[str, Names]) -> dict[str, set[str]]:
    """Return, for every module and every package above one, the modules right below it."""
    below: dict[str, set[str]] = {"": {"pytorch", "fabric"}}
    for module in modules:
        parts = module.split(".") if module else []
        for depth in range(len(parts)):
            below.setdefault(".".join(parts[:depth]), set()).add(parts[depth])
        below.setdefault(module, set())
    return below


_BELOW: Final = _tree(MODULES)


def is_module(key: str) -> bool:
    """Say whether Lightning's module is one that lt stands in for."""
    return key in _BELOW


def modules_below(key: str | None) -> set[str]:
    """Return the modules right below one, by their last name."""
    return _BELOW.get(key, set()) if key is not None else set()


def names_of(key: str | None) -> Names:
    """Return a module's names; a module that lt doesn't stand in for has none."""
    return MODULES.get(key, {}) if key is not None else {}
