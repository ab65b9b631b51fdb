"""Putting the finder in place, unless a real Lightning is there."""

import os
import sys
import warnings
from enum import StrEnum
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Final

from lt_compat.finder import CompatFinder, installed_finder
from lt_compat.modules import ROOTS, CompatModule

SWITCH: Final = "LT_COMPAT"
"""The environment variable that says how Lightning's names are to be resolved, here and in processes started here."""


class Mode(StrEnum):
    """What `LT_COMPAT` may say."""

    ON = "on"
    """Lightning's names are lt's, unless a real Lightning is installed."""
    FORCE = "force"
    """Lightning's names are lt's, even where a real Lightning is installed."""
    OFF = "off"
    """As if it weren't set: only ``import lt_compat`` does something."""


def install() -> None:
    """Let Lightning's names resolve to lt's in this process, and in those that it starts. More than once is once.

    Where a real Lightning is installed nothing is done, with a warning, unless ``LT_COMPAT=force``.

    Raises:
        ImportError: another version of lt-compat is at work, or, with ``LT_COMPAT=force``, a real Lightning has been
            imported already.
        ValueError: ``LT_COMPAT`` is none of ``on``, ``force``, ``off``.
    """
    mode = _mode()
    if (finder := installed_finder()) is not None:
        _refuse_another_version(finder)
        return
    if mode is not Mode.FORCE and (real := real_packages()):
        _say_that_nothing_is_done(real)
        return
    _refuse_what_is_imported()
    os.environ[SWITCH] = Mode.FORCE if mode is Mode.FORCE else Mode.ON
    sys.meta_path.insert(0, CompatFinder(version("lt-compat")))


def stand_in(name: str, names_version: str) -> None:
    """Let a thin package called ``lightning`` (or another root) become the module that resolves to lt.

    Called by the packages that lt-compat-names installs, while they're imported.

    Raises:
        ImportError: lt-compat has another version than the names.
    """
    own = version("lt-compat")
    if names_version != own:
        message = (
            f"lt-compat-names {names_version} and lt-compat {own} don't belong together. "
            f"Install the same version of both: pip install lt-compat-names=={own} lt-compat=={own}"
        )
        raise ImportError(message, name=name)
    finder = installed_finder()
    if finder is None:
        message = f"`{name}` can't stand for lt: a real Lightning is installed beside lt-compat-names. Uninstall one."
        raise ImportError(message, name=name)
    sys.modules[name] = CompatModule(name, ModuleSpec(name, finder, origin="lt-compat", is_package=True))


def real_packages() -> dict[str, str]:
    """Return which of Lightning's packages are really installed, with where they are."""
    found = {name: PathFinder.find_spec(name) for name in ROOTS}
    return {name: str(spec.origin) for name, spec in found.items() if spec is not None and _is_real(spec)}


def _is_real(spec: ModuleSpec) -> bool:
    """Tell Lightning from a folder that merely has its name, and from the thin packages of lt-compat-names."""
    return spec.origin is not None and "lt_compat" not in Path(spec.origin).read_text(errors="ignore")


def _mode() -> Mode:
    said = os.environ.get(SWITCH, Mode.OFF)
    if said not in set(Mode):
        accepted = ", ".join(f"`{mode}`" for mode in Mode)
        message = f"the environment variable {SWITCH} is {said!r}; accepted: {accepted}"
        raise ValueError(message)
    return Mode(said)


def _refuse_another_version(finder: CompatFinder) -> None:
    if isinstance(finder, CompatFinder):
        return
    module = sys.modules.get(type(finder).__module__)
    other = getattr(finder, "version", "of unknown version")
    message = (
        f"two copies of lt-compat are on the import path: {other} ({getattr(module, '__file__', 'unknown place')}) is at "
        f"work, and {version('lt-compat')} ({__file__}) would be the second. Uninstall one."
    )
    raise ImportError(message, name="lt_compat")


def _refuse_what_is_imported() -> None:
    imported = [name for name in ROOTS if isinstance(sys.modules.get(name), ModuleType)]
    if imported:
        message = (
            f"`{imported[0]}` was imported before lt_compat, from {getattr(sys.modules[imported[0]], '__file__', None)}. "
            "Two sets of classes in one program would not know each other: import lt_compat first."
        )
        raise ImportError(message, name="lt_compat")


def _say_that_nothing_is_done(real: dict[str, str]) -> None:
    if sys.argv[:1] == ["-m"]:
        return  # `python -m lt_compat ...` says it itself, where it matters
    warnings.warn(unchanged_names(real), stacklevel=4)


def unchanged_names(real: dict[str, str]) -> str:
    """Say that a real Lightning keeps its names, and how to change that."""
    places = ", ".join(f"`{name}` ({place})" for name, place in real.items())
    return (
        f"lt_compat leaves Lightning's names alone, since a real one is installed: {places}. "
        f"Uninstall it, or set {SWITCH}=force in the environment to prefer lt."
    )
