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


Entry = Owner | Missing
Names = Mapping[str, Entry]
"""The names of one module of Lightning's."""


def owned(module: str, *names: str, **renamed: str) -> dict[str, Entry]:
    """Return entries for names that a module of lt has, by the same name or by another (``Theirs="Ours"``)."""
    ours = dict(zip(names, names, strict=True)) | renamed
    return {theirs: Owner(module, name) for theirs, name in ours.items()}


def missing(instead: str, *names: str) -> dict[str, Entry]:
    """Return entries for names that lt doesn't have, with what to use instead."""
    return dict.fromkeys(names, Missing(instead))
