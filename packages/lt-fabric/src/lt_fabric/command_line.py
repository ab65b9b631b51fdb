"""Arguments of Fabric that a command line has put into the environment."""

import os
from collections.abc import Mapping
from typing import Any, Final

from lt_interfaces.rank_zero import rank_zero_warn

_DEFAULTS: Final[Mapping[str, Any]] = {
    "accelerator": "auto",
    "strategy": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "precision": None,
}


def is_started_by_command_line() -> bool:
    """Say whether a command line started this script in all processes of the job."""
    return os.environ.get("LT_CLI_USED") == "1"


def overridden(**arguments: Any) -> dict[str, Any]:
    """Return the arguments, those replaced for which a variable such as ``LT_DEVICES`` is set.

    Args:
        arguments: any of accelerator, strategy, devices, num_nodes and precision, as the script gave them.

    Raises:
        ValueError: the command line contradicts a script that chose something itself.
    """
    return {name: _one(name, value) for name, value in arguments.items()}


def _one(name: str, value: Any) -> Any:
    variable = f"LT_{name.upper()}"
    text = os.environ.get(variable)
    if text is None:
        return value
    if value != _DEFAULTS[name] and str(value) != text:
        message = f"`{name}={value!r}` of the script contradicts `{variable}={text}` of the environment."
        if is_started_by_command_line():
            message += f" Remove `{name}` from `Fabric(...)`, or the option from the command line."
            raise ValueError(message)
        rank_zero_warn(f"{message} The environment's is used.")
    return int(text) if name == "num_nodes" and text.isdecimal() else text
