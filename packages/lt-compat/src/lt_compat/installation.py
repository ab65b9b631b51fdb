"""Putting the finder in place, unless a real Lightning is there."""

import os
import sys
import warnings
from enum import StrEnum
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import DistributionFinder, MetadataPathFinder, version
from pathlib import Path
from typing import Any, Final

from lt_compat.distributions import NAMES
from lt_compat.finder import CompatFinder, installed_finder
from lt_compat.modules import ROOTS, CompatModule

SWITCH: Final = "LT_COMPAT"
"""The environment variable that says how Lightning's names are resolved, in this process and in those it starts."""
CHECKPOINT_OBJECTS: Final = "LT_CHECKPOINT_OBJECTS"
"""The environment variable that lets checkpoints hold any object, as Lightning's may (`lt_interfaces.plain_values`)."""
CALLBACK_FACTORIES: Final = "LT_CALLBACK_FACTORIES"
"""The environment variable that names the entry points whose functions bring callbacks to every Trainer (`lt_core`)."""


class Mode(StrEnum):
    """What `LT_COMPAT` may say."""

    ON = "on"
    """Lightning's names are lt's, unless a real Lightning is installed."""
    FORCE = "force"
    """Lightning's names are lt's, even where a real Lightning is installed."""
    OFF = "off"
    """``import lt_compat`` does nothing."""


def install() -> None:
    """Let Lightning's names resolve to lt's in this process, and in those that it starts. More than once is once.

    Where a real Lightning is installed nothing is done, with a warning, unless ``LT_COMPAT=force``.

    Raises:
        ImportError: another copy of lt-compat is at work, or a real Lightning has been imported already.
        ValueError: ``LT_COMPAT`` is none of ``on``, ``force``, ``off``.
    """
    mode = _mode()
    finder = installed_finder()
    if mode is Mode.OFF:
        return
    if finder is not None:
        _refuse_another_copy(finder)
    elif mode is Mode.FORCE or not real_packages():
        _refuse_what_is_imported()
        os.environ[SWITCH] = mode
        os.environ.setdefault(CHECKPOINT_OBJECTS, "keep")
        os.environ.setdefault(CALLBACK_FACTORIES, "lightning.pytorch.callbacks_factory")
        sys.meta_path.insert(0, CompatFinder(version("lt-compat")))
    elif sys.argv[:1] != ["-m"]:  # `python -m lt_compat` says it itself, where it matters
        warnings.warn(why_not(), stacklevel=4)


def stand_in(name: str, names_version: str) -> None:
    """Let a thin package called ``lightning`` (or another root) become the module that resolves to lt.

    Called by the packages that lt-compat-names installs, while they're imported.

    Raises:
        ImportError: lt-compat has another version than the names, a real Lightning lies in the same folders, or
            ``LT_COMPAT=off``.
    """
    own = version("lt-compat")
    if names_version != own:
        message = (
            f"lt-compat-names {names_version} and lt-compat {own} don't belong together. "
            f"Install the same version of both: pip install lt-compat-names=={own} lt-compat=={own}"
        )
        raise ImportError(message, name=name)
    if real := _real_distributions():
        message = (
            f"lt-compat-names and {' and '.join(real)} are both installed, in the same folders. "
            f"Uninstall both and install the one that you want: pip uninstall lt-compat-names {' '.join(real)}"
        )
        raise ImportError(message, name=name)
    finder = installed_finder()
    if finder is None:
        raise ImportError(why_not(), name=name)
    sys.modules[name] = CompatModule(name, ModuleSpec(name, finder, origin="lt-compat", is_package=True))


def real_packages() -> dict[str, str]:
    """Return which of Lightning's packages are really installed, with where they are."""
    found = {name: PathFinder.find_spec(name) for name in ROOTS}
    return {name: str(spec.origin) for name, spec in found.items() if spec is not None and _is_real(spec)}


def why_not() -> str:
    """Say why Lightning's names are left alone in this process, and how to change that."""
    if _mode() is Mode.OFF:
        return f"lt_compat does nothing, since the environment says {SWITCH}=off"
    places = ", ".join(f"`{name}` ({place})" for name, place in real_packages().items())
    return (
        f"lt_compat leaves Lightning's names alone, since a real one is installed: {places}. "
        f"Uninstall it, or set {SWITCH}=force in the environment to prefer lt."
    )


def _mode() -> Mode:
    said = os.environ.get(SWITCH) or Mode.ON
    if said not in set(Mode):
        accepted = ", ".join(f"`{mode}`" for mode in Mode)
        message = f"the environment variable {SWITCH} is {said!r}; accepted: {accepted}"
        raise ValueError(message)
    return Mode(said)


def _is_real(spec: ModuleSpec) -> bool:
    """Tell Lightning from a folder that merely has its name, and from the thin packages of lt-compat-names."""
    if spec.origin is None or not spec.has_location:
        return False
    return "lt_compat" not in Path(spec.origin).read_text(errors="ignore")


def _real_distributions() -> list[str]:
    contexts = (DistributionFinder.Context(name=name) for name in NAMES)
    found = (next(iter(MetadataPathFinder.find_distributions(context)), None) for context in contexts)
    return [f"{distribution.name}" for distribution in found if distribution is not None]


def _refuse_another_copy(finder: Any) -> None:
    if isinstance(finder, CompatFinder):
        return
    message = (
        f"two copies of lt-compat are on the import path: {finder.version} ({finder.place}) is at work, and "
        f"{version('lt-compat')} ({__file__}) would be the second. Uninstall one."
    )
    raise ImportError(message, name="lt_compat")


def _refuse_what_is_imported() -> None:
    imported = {name: sys.modules[name] for name in ROOTS if name in sys.modules}
    for name, module in imported.items():
        if module.__spec__ is not None and _is_real(module.__spec__):
            message = (
                f"`{name}` was imported before lt_compat, from {module.__file__}. "
                "Two sets of classes in one program would not know each other: import lt_compat first."
            )
            raise ImportError(message, name="lt_compat")
