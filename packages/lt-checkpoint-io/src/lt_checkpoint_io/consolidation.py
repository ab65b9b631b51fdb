"""Turns a sharded checkpoint into one file."""

import os
from os import PathLike
from pathlib import Path
from typing import Literal

from lt_checkpoint_io.opened_checkpoint import open_checkpoint
from lt_checkpoint_io.stored_tensor import Progress
from lt_checkpoint_io.torch_stream import write_torch_stream
from lt_checkpoint_io.weights import export_safetensors
from lt_interfaces.commit import commit_file


def consolidate_checkpoint(
    folder: str | PathLike[str],
    target: str | PathLike[str] | None = None,
    *,
    format: Literal["torch", "safetensors"] = "torch",
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write a sharded checkpoint as one file, tensor by tensor, and return where it is.

    At no time more than the largest tensor and one of its shards are in memory.

    Args:
        folder: what `DistributedCheckpointIO` saved.
        target: the file; ``None`` means the folder's name with ``.consolidated`` at the end.
        format: ``"torch"`` for a whole checkpoint that the Trainer resumes from, ``"safetensors"`` for its weights.
        progress: is told how many bytes of tensors are written, and how many there are.

    Raises:
        FileNotFoundError: there's no such folder.
        NotADirectoryError: it's a file, which needs no consolidation.
        FileExistsError: the target is there already.
        UnpicklingError: the folder is damaged or no sharded checkpoint.

    >>> import tempfile, torch
    >>> from lt_checkpoint_io import DistributedCheckpointIO
    >>> folder = Path(tempfile.mkdtemp(), "last.ckpt")
    >>> DistributedCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, folder)
    >>> torch.load(consolidate_checkpoint(folder), weights_only=True)
    {'state_dict': {'weight': tensor([1., 1.])}}
    """
    source = Path(folder)
    file = Path(f"{source}.consolidated") if target is None else Path(target)
    if format not in ("torch", "safetensors"):
        message = f"`format` came as {format!r}; it's 'torch' or 'safetensors'."
        raise ValueError(message)
    if source.is_file():
        message = f"`{source}` is a file already; only the folder of a sharded checkpoint is consolidated."
        raise NotADirectoryError(message)
    if os.path.lexists(file):
        message = f"The target `{file}` is there already; remove it, or name another `target`."
        raise FileExistsError(message)
    if format == "safetensors":
        return export_safetensors(source, file, progress=progress)
    checkpoint = open_checkpoint(source)
    with commit_file(file) as opened:
        write_torch_stream(checkpoint.tree, opened, progress)
    return file
