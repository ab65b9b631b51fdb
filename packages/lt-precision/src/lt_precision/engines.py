"""Optional engines: imported when they're used and not before; where they're missing, with the line to install them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from lt_interfaces.errors import MissingPackageError, missing_package

INSTALL: Final = {
    "torchao": "'lt-precision[torchao]'",
    "bitsandbytes": "'lt-precision[bitsandbytes]'",
    "transformer_engine": "'lt-precision[transformer-engine]'",
    "mslk": "'mslk-cuda>=1.0.0'",
}


def is_installed(name: str) -> bool:
    """Say whether an engine can be found; it isn't imported.

    >>> is_installed("an_engine_that_nobody_wrote")
    False
    """
    return find_spec(name) is not None


def require_engine(name: str, why: str) -> None:
    """Raise where an engine isn't installed, with the line that installs it: asked as a precision is made.

    Args:
        name: the name it's imported by, one of `INSTALL`.
        why: what needs it, as the user spelled it.

    Raises:
        MissingPackageError: which is a ``ModuleNotFoundError``.
    """
    if not is_installed(name):
        raise missing_package(name, why, INSTALL[name])


def engine(name: str, why: str = "This precision") -> Any:
    """Return an engine, or a module of it such as ``"torchao.float8"``.

    Raises:
        MissingPackageError: also for an engine that's there and can't be loaded, since a part of it is missing.
    """
    package = name.partition(".")[0]
    require_engine(package, why)
    try:
        return import_module(name)
    except ImportError as error:
        message = f"{why} needs the package `{package}`, which is installed but can't be imported: {error}"
        message += f" Install it anew with: pip install --force-reinstall {INSTALL[package]}"
        raise MissingPackageError(message, name=package) from error
