"""Lightning's private modules and names: what to use instead of them."""

from typing import Final

_INSTEAD: Final[dict[str, str]] = {
    "pytorch.loops": " `global_step`, `current_epoch`, `is_last_batch` of the Trainer say where a run stands.",
    "pytorch.trainer.call": " Callbacks and `lt_interfaces.hooks` hold every hook.",
    "pytorch.trainer.configuration_validator": " The Trainer checks its arguments itself.",
    "pytorch.trainer.connectors": " The Trainer's properties and methods are all there is to it.",
    "pytorch.trainer.setup": " The Trainer checks its arguments itself.",
    "pytorch.strategies.launchers": " Launchers are found by entry points in the group `lt.launchers`.",
    "pytorch.overrides": " Samplers of several processes are `lt_fabric.data`'s.",
    "pytorch.utilities.argparse": " `PL_TRAINER_<ARGUMENT>` in the environment sets an argument.",
    "pytorch.utilities.signature_utils": " `inspect.signature` says what a function takes.",
    "pytorch.utilities.testing": " `pytest.mark.skipif` skips tests.",
    "pytorch.utilities.model_registry": " Download the checkpoint and pass its path.",
    "fabric.connector": " `lt_fabric.resolve_hardware` and `lt_fabric.assemble` do that work.",
    "fabric.strategies.launchers": " Launchers are found by entry points in the group `lt.launchers`.",
    "fabric.utilities.testing": " `pytest.mark.skipif` skips tests.",
}
"""Modules without a leading underscore that Lightning's documentation leaves out, with what to use instead."""


def instead_of_private(module: str, name: str) -> str | None:
    """Return what to use instead of a private module or name, as a sentence or ``""``; ``None`` if it isn't private."""
    path = f"{module}.{name}" if module else name
    for private, instead in _INSTEAD.items():
        if path == private or path.startswith(f"{private}."):
            return instead
    return "" if any(part.startswith("_") for part in path.split(".")) else None
