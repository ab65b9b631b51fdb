"""What a run leaves on disk, and where."""

import os
from dataclasses import dataclass

from lt_fabric.argument_checks import check_bool, refusal
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn


@dataclass(frozen=True)
class SavingSpec:
    """Whether checkpoints are saved by default, and the folder that everything goes under."""

    enable_checkpointing: bool | None
    """``None``: yes, where a checkpoint callback is installed; ``True``: yes, and an error where none is."""

    default_root_dir: str
    """A normalised local path or a URL."""

    model_registry: str | None
    """The name without its version; kept for scripts that give it, nothing reads it."""


def resolve_saving(
    *,
    enable_checkpointing: object = None,
    default_root_dir: object = None,
    model_registry: object = None,
) -> SavingSpec:
    """Check the Trainer's arguments about files; all of them may hold anything.

    Raises:
        TypeError: for a wrong type.
        MisconfigurationException: for an empty path.

    >>> resolve_saving(default_root_dir="runs/../logs").default_root_dir
    'logs'
    """
    if enable_checkpointing is not None:
        enable_checkpointing = check_bool("enable_checkpointing", enable_checkpointing, accepted="True, False or None")
    return SavingSpec(
        enable_checkpointing=enable_checkpointing,
        default_root_dir=os.getcwd() if default_root_dir is None else _check_root(default_root_dir),
        model_registry=None if model_registry is None else _check_registry(model_registry),
    )


def _check_root(value: object) -> str:
    root = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(root, str):
        message = refusal("default_root_dir", value, accepted="a path, a URL, or None for the current folder")
        raise TypeError(message)
    if not root:
        message = refusal("default_root_dir", value, accepted="a path, a URL, or None for the current folder")
        raise MisconfigurationException(message)
    return root if "://" in root else os.path.normpath(os.path.expanduser(root))


def _check_registry(value: object) -> str:
    if not isinstance(value, str):
        message = refusal("model_registry", value, accepted="a string 'name' or 'name:version', or None")
        raise TypeError(message)
    rank_zero_warn(
        "`model_registry` has no effect: nothing here uploads models. Leave it out, or upload in a callback's "
        "`on_save_checkpoint`."
    )
    return value.partition(":")[0]
