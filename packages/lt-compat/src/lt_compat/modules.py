"""Modules with Lightning's names, whose contents are lt's, loaded when they're first used."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from lt_compat.names import LIGHTNING_VERSION, Missing, Names, Owner, instead_of_private, modules_below, names_of
from lt_compat.pickles import name_as_lightning_does

ROOTS: Final[Mapping[str, str]] = {"lightning": "", "pytorch_lightning": "pytorch", "lightning_fabric": "fabric"}
"""The packages that Lightning is installed as, each with the module of the table that it shows."""


class CompatModule(ModuleType):
    """One module of Lightning's: a name is looked up in the table, imported from its owner, and kept.

    Names and modules that lt doesn't have aren't attributes: `hasattr` says so, and an import of one says what to use
    instead.
    """

    def __init__(self, name: str, spec: ModuleSpec) -> None:
        super().__init__(name, f"What Lightning offers as `{name}`, by lt.")
        self.__spec__ = spec
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            found = _special(self, name)
        elif (entry := names_of(table_key(self.__name__)).get(name)) is not None:
            found = _from_owner(entry, self, name)
        elif name in modules_below(table_key(self.__name__)):
            return import_module(f"{self.__name__}.{name}")
        else:
            raise AttributeError(unknown(self.__name__, name), name=name, obj=self)
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        key = table_key(self.__name__)
        return sorted({*self.__dict__, *_offered(names_of(key)), *modules_below(key)})


def table_key(module: str) -> str | None:
    """Return the table's name of a module of Lightning's: `lightning.pytorch.callbacks` is `pytorch.callbacks`.

    ``None`` for modules of others.
    """
    root, _, rest = module.partition(".")
    if root not in ROOTS:
        return None
    return ".".join(part for part in (ROOTS[root], rest) if part)


def unknown(module: str, name: str) -> str:
    """Say why a name can't be had from a module of Lightning's, and what to use instead."""
    key = table_key(module) or ""
    entry = names_of(key).get(name)
    if isinstance(entry, Missing):
        return f"lt has no `{module}.{name}`. {entry.instead}"
    if (hint := instead_of_private(key, name)) is not None:
        return (
            f"`{module}.{name}` is private to Lightning, which may change it in any release; lt doesn't have it.{hint}"
        )
    # Imported where something is wrong: it brings torch, which naming modules doesn't need.
    from lt_interfaces.spelling import did_you_mean

    known = [*_offered(names_of(key)), *modules_below(key)]
    return f"`{module}.{name}` isn't among the names of Lightning's that lt knows.{did_you_mean(name, known)}"


def _special(module: CompatModule, name: str) -> Any:
    if name == "__version__" and module.__name__ in {*ROOTS, "lightning.pytorch", "lightning.fabric"}:
        return LIGHTNING_VERSION
    if name == "__all__":
        return sorted(_offered(names_of(table_key(module.__name__))))
    message = f"module {module.__name__!r} has no attribute {name!r}"
    raise AttributeError(message, name=name, obj=module)


def _from_owner(entry: Owner | Missing, module: CompatModule, name: str) -> Any:
    if isinstance(entry, Missing):
        raise AttributeError(unknown(module.__name__, name), name=name, obj=module)
    found = getattr(import_module(entry.module), entry.name)
    name_as_lightning_does()
    return found


def _offered(names: Names) -> Iterable[str]:
    return (name for name, entry in names.items() if isinstance(entry, Owner))
