"""A checkpoint as one local file."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lt_interfaces import CheckpointIO, CheckpointTraits
from lt_interfaces.commit import commit_file, is_whole, remove_committed


class LocalCheckpointIO(CheckpointIO):
    """Writes a checkpoint with `torch.save`, straight into one local file that appears when it's complete and on disk.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> checkpoint_io = LocalCheckpointIO()
    >>> checkpoint_io.save_checkpoint({"epoch": 3}, path)
    >>> checkpoint_io.load_checkpoint(path)
    {'epoch': 3}
    """

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits()

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            message = (
                f"`storage_options` must be None for a local file, not {storage_options!r}. Use a checkpoint IO that "
                "takes options, for instance one of lt-checkpoint-io."
            )
            raise TypeError(message)
        with commit_file(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
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

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        remove_committed(path)

    def teardown(self) -> None:
        """Do nothing: every save was finished when it returned."""


def _unreadable(path: Path, weights_only: bool | None, error: Exception) -> str:
    if weights_only is False:
        return f"`{path}` is damaged or no checkpoint: {error}"
    return (
        f"`{path}` can't be loaded as plain values and tensors: it's damaged, or it holds other objects, which may run "
        "code when they're loaded. If you trust whoever wrote it, pass `weights_only=False`. What torch says: "
        f"{error}"
    )
