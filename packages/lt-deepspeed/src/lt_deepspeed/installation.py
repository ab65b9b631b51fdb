"""DeepSpeed itself, imported when it's used and not before."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from lt_interfaces.errors import missing_package

_NAME: Final = "deepspeed"
_INSTALL: Final = "'lt-deepspeed[deepspeed]'"


def require_deepspeed(why: str = "`DeepSpeedStrategy`") -> None:
    """Raise where DeepSpeed isn't installed, with the line that installs it."""
    if find_spec(_NAME) is None:
        raise missing_package(_NAME, why, _INSTALL)


def deepspeed(submodule: str = "") -> Any:
    """Return DeepSpeed, or a module of it; importing takes seconds, and may compile."""
    require_deepspeed()
    return import_module(f"deepspeed.{submodule}" if submodule else "deepspeed")
