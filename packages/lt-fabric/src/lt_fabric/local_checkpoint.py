"""A checkpoint as one local file."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from lt_interfaces import CheckpointIO, CheckpointTraits, StoredCheckpoint
from lt_interfaces.commit import is_whole, remove_committed, visible_entries
from lt_interfaces.torch_file import load_torch_file, save_torch_file


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
        _refuse_url(path)
        save_torch_file(checkpoint, path)

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        _refuse_url(path)
        return load_torch_file(path, map_location, weights_only)

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        _refuse_url(path)
        remove_committed(path)

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        _refuse_url(folder)
        return [StoredCheckpoint(path, modified) for path, modified in visible_entries(folder)]

    def is_whole(self, path: str | PathLike[str]) -> bool:
        _refuse_url(path)
        return is_whole(path)

    def poll(self) -> None:
        """Do nothing: what goes wrong is raised by the save itself."""

    def teardown(self) -> None:
        """Do nothing: every save was finished when it returned."""


def _refuse_url(path: str | PathLike[str]) -> None:
    """Refuse a URL, which would become a local folder of that name."""
    if "://" in str(path):
        message = f"`{path}` is a URL, and this checkpoint IO knows local files alone. `pip install lt-checkpoint-io`."
        raise ValueError(message)
