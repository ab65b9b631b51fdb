"""What a dotted name of Lightning's comes to in lt."""

from dataclasses import dataclass
from enum import StrEnum

from lt_compat.modules import table_key, unknown
from lt_compat.names import Owner, instead_of_private, modules_below, names_of


class Standing(StrEnum):
    """What there is in lt for a name."""

    OWNED = "owned"
    """A module of lt has it."""
    MODULE = "module"
    """It's a module of Lightning's, without a name behind it."""
    SPECIAL = "special"
    """A module's own attribute, such as `__version__`: lt-compat answers it, lt's modules have another."""
    MISSING = "missing"
    """Lightning has it and lt doesn't, or neither does."""
    PRIVATE = "private"
    """It's private to Lightning, and lt doesn't have it."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A dotted name, taken apart."""

    standing: Standing
    path: str
    """The name itself, without attributes behind it: `lightning.pytorch.Trainer` of `lightning.pytorch.Trainer.fit`."""
    attributes: tuple[str, ...] = ()
    """What's behind the name."""
    owner: Owner | None = None
    """Where it lives in lt, if it does."""
    why: str = ""
    """Why it can't be had, and what to use instead."""

    @property
    def key(self) -> str:
        """The table's name of the module that the name is in; of a module, its own."""
        module = self.path if self.standing is Standing.MODULE else self.path.rpartition(".")[0]
        return table_key(module) or ""

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.path.rpartition(".")[2]

    @property
    def is_absent(self) -> bool:
        """Whether a program that needs it fails on lt."""
        return self.standing in {Standing.MISSING, Standing.PRIVATE}


def resolve(path: str) -> Resolved:
    """Look a dotted name of Lightning's up, as Python would: module by module, then a name, then its attributes.

    >>> resolve("lightning.pytorch.Trainer.fit").owner
    Owner(module='lt_core', name='Trainer')
    >>> resolve("pytorch_lightning.callbacks").standing
    <Standing.MODULE: 'module'>
    """
    module, *parts = path.split(".")
    for depth, name in enumerate(parts):
        key = table_key(module)
        entry = names_of(key).get(name)
        found, attributes = f"{module}.{name}", tuple(parts[depth + 1 :])
        if isinstance(entry, Owner):
            return Resolved(Standing.OWNED, found, attributes, entry)
        if entry is None and name in modules_below(key):
            module = found
            continue
        return _absent(module, name, attributes)
    return Resolved(Standing.MODULE, module)


def _absent(module: str, name: str, attributes: tuple[str, ...]) -> Resolved:
    path = f"{module}.{name}"
    if name.startswith("__") and name.endswith("__"):
        return Resolved(Standing.SPECIAL, path, attributes)
    is_private = instead_of_private(table_key(module) or "", name) is not None
    standing = Standing.PRIVATE if is_private else Standing.MISSING
    return Resolved(standing, path, attributes, why=unknown(module, name))
