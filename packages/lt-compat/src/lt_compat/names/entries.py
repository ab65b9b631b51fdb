"""What an entry of the table of names is, and how entries are written down."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Where a name of Lightning's lives in lt."""

    module: str
    """The module to import it from, public where there is a public one."""
    name: str
    """What it's called there."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A name of Lightning's that lt doesn't have."""

    instead: str
    """What to use instead, in whole sentences."""


Names = Mapping[str, Owner | Missing]
"""The names of one module of Lightning's."""


def owned(module: str, *names: str, **renamed: str) -> dict[str, Owner]:
    """Return entries for names that a module of lt has, by the same name or by another (``Theirs="Ours"``)."""
    same = {name: Owner(module, name) for name in names}
    return same | {theirs: Owner(module, ours) for theirs, ours in renamed.items()}


def missing(instead: str, *names: str) -> dict[str, Missing]:
    """Return entries for names that lt doesn't have, with what to use instead."""
    return dict.fromkeys(names, Missing(instead))
