"""A checkpoint as one file in torch's format, local or in a remote store."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_checkpoint_io.folder_loading import load_local, load_local_placed
from lt_checkpoint_io.remote_commit import commit_remote
from lt_checkpoint_io.remote_object import RemoteObject
from lt_checkpoint_io.stores import local_path, open_store, store_errors
from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits, Placement, StoredCheckpoint
from lt_interfaces.commit import is_whole, remove_committed, visible_entries
from lt_interfaces.torch_file import read_torch_file, refuse_sharded, save_torch_file


class TorchCheckpointIO(CheckpointIO):
    """Writes a checkpoint as one file, to a local path or to a URL that fsspec knows, and never tears the previous one.

    A save is streamed; only the store's own part size is held in memory. A load copies a remote file to a local
    temporary one first, and compares it with what was committed. ``file://`` URLs are local paths. Local folders that
    `DistributedCheckpointIO` wrote are read, too.

    Args:
        storage_options: given to fsspec with every URL, for instance ``{"endpoint_url": ...}``; local paths don't use
            them.

    >>> checkpoint_io = TorchCheckpointIO()
    >>> checkpoint_io.save_checkpoint({"epoch": 3}, "memory://runs/last.ckpt")
    >>> checkpoint_io.is_whole("memory://runs/last.ckpt")
    True
    >>> checkpoint_io.load_checkpoint("memory://runs/last.ckpt")
    {'epoch': 3}
    """

    def __init__(self, storage_options: Mapping[str, Any] | None = None) -> None:
        self._storage_options = dict(storage_options or {})

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits(remote=True)

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        local = local_path(path)
        if local is None:
            refuse_sharded(checkpoint)
            commit_remote(checkpoint, self._object(path, storage_options))
            return
        if storage_options is not None:
            message = f"`storage_options` must be None for a local file, not {storage_options!r}; they're for URLs."
            raise TypeError(message)
        save_torch_file(checkpoint, local)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        local = local_path(path)
        if local is not None:
            return load_local(local, map_location, weights_only)
        with tempfile.TemporaryDirectory() as folder:
            copy = self._object(path).fetch(Path(folder))
            return read_torch_file(copy, map_location, weights_only=weights_only, name=os.fspath(path))

    def load_placed(
        self, path: str | os.PathLike[str], placement: Placement, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a sharded folder into the tensors that ``placement`` names; a file is read whole."""
        local = local_path(path)
        if local is not None:
            return load_local_placed(local, placement, weights_only)
        return self.load_checkpoint(path, weights_only=weights_only)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        local = local_path(path)
        if local is None:
            self._object(path).remove()
        else:
            remove_committed(local)

    def stored(self, folder: str | os.PathLike[str]) -> list[StoredCheckpoint]:
        """Return what lies directly in a folder, without hidden entries; of a remote one the objects alone."""
        local = local_path(folder)
        if local is None:
            return self._stored_remotely(os.fspath(folder))
        prefix = os.fspath(folder).removesuffix(local)
        return [StoredCheckpoint(prefix + path, modified) for path, modified in visible_entries(local)]

    def is_whole(self, path: str | os.PathLike[str]) -> bool:
        local = local_path(path)
        return self._object(path).is_whole() if local is None else is_whole(local)

    def poll(self) -> None:
        """Do nothing: what goes wrong is raised by the save itself."""

    def teardown(self) -> None:
        """Do nothing: every save was finished when it returned."""

    def _object(self, path: str | os.PathLike[str], storage_options: Any | None = None) -> RemoteObject:
        return RemoteObject.at(os.fspath(path), {**self._storage_options, **(storage_options or {})})

    def _stored_remotely(self, folder: str) -> list[StoredCheckpoint]:
        store, key = open_store(folder, self._storage_options)
        try:
            with store_errors(folder, "listed"):
                entries = store.ls(key, detail=True)
                names = {entry["name"].rpartition("/")[2]: entry for entry in entries if entry["type"] == "file"}
                return [
                    StoredCheckpoint(f"{folder.rstrip('/')}/{name}", store.modified(entry["name"]).timestamp())
                    for name, entry in names.items()
                    if not name.startswith(".")
                ]
        except FileNotFoundError:
            return []
