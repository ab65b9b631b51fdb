"""Exceptions and warning categories that every package raises."""

import os
import warnings


class MisconfigurationException(ValueError):
    """A setting, or a combination of settings, that cannot work.

    Raised while objects are built or a run is put together, before any process is launched. The message names the
    argument in backticks, the value that came, what is accepted and the way out.
    """


class MissingPackageError(ModuleNotFoundError):
    """An optional package is needed by what was asked for and isn't installed."""


def missing_package(name: str, why: str, install: str) -> MissingPackageError:
    """Build the error for an optional package that isn't installed; the caller raises it.

    Args:
        name: the distribution that is missing.
        why: what needs it, as the user spelled it, for instance "`logger='tensorboard'`".
        install: what goes behind ``pip install``, for instance ``"lt-loggers"``.

    >>> print(missing_package("rich", "`RichProgressBar`", "rich"))
    `RichProgressBar` needs the package `rich`, which isn't installed. Install it with: pip install rich
    """
    message = f"{why} needs the package `{name}`, which isn't installed. Install it with: pip install {install}"
    return MissingPackageError(message, name=name)


class PossibleUserWarning(UserWarning):
    """Something looks like a mistake but may be meant; safe to filter by category."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Ignore every `PossibleUserWarning` from now on; ``POSSIBLE_USER_WARNINGS=off`` in the environment does, too.

    Args:
        module: a regular expression for the modules that warn; by default all.

    >>> disable_possible_user_warnings()
    """
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)


class EndOfFit(Exception):
    """Raised in `Callback.on_fit_start`: `fit` ends there and nothing is trained, which is no failure.

    For callbacks that only try settings, and on all ranks alike. Callbacks behind it and the module don't hear
    ``on_fit_start`` any more; everybody hears ``teardown``.
    """


class SIGTERMException(SystemExit):
    """Ends the process after SIGTERM was honoured at a step boundary, with the shell's exit code 143 (128 + 15)."""

    def __init__(self, code: int = 143) -> None:
        super().__init__(code)


if os.environ.get("POSSIBLE_USER_WARNINGS", "").lower() in ("0", "off"):
    disable_possible_user_warnings()
