"""One checkpoint as one local file in torch's format: written so that no kill tears it, read without running code."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lt_interfaces.commit import commit_file, is_whole


def save_torch_file(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Stream a checkpoint into a file that appears when it's complete and on disk; nothing is copied in memory.

    Raises:
        OSError: when the file can't be written; what was there before is whole.
    """
    with commit_file(path) as file:
        torch.save(checkpoint, file)


def load_torch_file(
    path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint file.

    Args:
        path: the file.
        map_location: as in `torch.load`; ``None`` loads to the CPU.
        weights_only: ``None`` and ``True`` never unpickle arbitrary objects.

    Raises:
        FileNotFoundError: nothing is there.
        IsADirectoryError: a folder is there.
        UnpicklingError: the file is damaged, or holds objects that only unpickling could bring back.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> save_torch_file({"epoch": 3}, path)
    >>> load_torch_file(path)
    {'epoch': 3}
    """
    source = Path(path)
    if not source.exists():
        message = f"There's no checkpoint at `{source}`."
        raise FileNotFoundError(message)
    if source.is_dir():
        message = f"`{source}` is a folder; this checkpoint IO reads one file."
        raise IsADirectoryError(message)
    if not is_whole(source):
        message = f"`{source}` is damaged: it was never written to its end, or cut off since."
        raise UnpicklingError(message)
    try:
        checkpoint: dict[str, Any] = torch.load(
            source,
            map_location="cpu" if map_location is None else map_location,
            weights_only=weights_only is not False,
        )
    except (UnpicklingError, EOFError, LookupError) as error:
        message = _unreadable(source, weights_only, error)
        raise UnpicklingError(message) from error
    return checkpoint


def _unreadable(path: Path, weights_only: bool | None, error: Exception) -> str:
    if weights_only is False:
        return f"`{path}` is damaged or no checkpoint: {error}"
    return (
        f"`{path}` can't be loaded as plain values and tensors: it's damaged, or it holds other objects, which may run "
        "code when they're loaded. If you trust whoever wrote it, pass `weights_only=False`. What torch says: "
        f"{error}"
    )
