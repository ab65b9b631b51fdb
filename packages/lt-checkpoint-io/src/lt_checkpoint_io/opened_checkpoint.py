"""A checkpoint of any format, opened without reading its tensors."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal
from zipfile import is_zipfile

import torch
from torch import Tensor

from lt_checkpoint_io.safetensors_format import is_safetensors, read_header
from lt_checkpoint_io.stored_tensor import StoredTensor, is_plain
from lt_checkpoint_io.tensor_tree import leaves, map_leaves

CheckpointFormat = Literal["torch file", "sharded folder", "safetensors file"]


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint whose tensors are `StoredTensor`, to be read one by one."""

    path: Path
    format: CheckpointFormat
    tree: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How many bytes it takes on disk."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    def weights(self) -> dict[str, StoredTensor]:
        """Return the tensors of its ``state_dict``.

        Raises:
            ValueError: it has none.
        """
        weights = self.tree.get("state_dict")
        if not isinstance(weights, dict):
            message = f"`{self.path}` has no `state_dict`; it has {sorted(map(str, self.tree))}."
            raise ValueError(message)
        return {".".join(map(str, place)): leaf for place, leaf in leaves(weights) if isinstance(leaf, StoredTensor)}


def open_checkpoint(path: str | PathLike[str]) -> OpenedCheckpoint:
    """Open a torch file, a sharded folder or a safetensors file; arbitrary objects are never unpickled.

    Raises:
        FileNotFoundError: nothing is there.
        UnpicklingError: it's damaged, no checkpoint, or holds objects that only unpickling could bring back.
    """
    source = Path(path)
    if not source.exists():
        message = f"There's no checkpoint at `{source}`."
        raise FileNotFoundError(message)
    if source.is_dir():
        return _open_folder(source)
    if is_safetensors(source):
        return _open_safetensors(source)
    return _open_torch_file(source)


def _open_folder(path: Path) -> OpenedCheckpoint:
    # Deferred: torch.distributed.checkpoint takes over a second, which looking at files shouldn't cost.
    from lt_checkpoint_io.sharded_folder import ShardedFolder

    folder = ShardedFolder(path)

    def stored(_: Any, name: str, empty: Tensor) -> StoredTensor:
        return StoredTensor(name, tuple(empty.shape), empty.dtype, lambda: folder.read(name))

    return OpenedCheckpoint(path, "sharded folder", folder.filled(stored))


def _open_safetensors(path: Path) -> OpenedCheckpoint:
    tensors, metadata = read_header(path)
    numbers = {key: int(metadata[key]) for key in ("epoch", "global_step") if metadata.get(key, "").isdigit()}
    versions = {key: value for key, value in metadata.items() if key == "pytorch-lightning_version"}
    return OpenedCheckpoint(path, "safetensors file", {"state_dict": tensors, **numbers, **versions})


def _open_torch_file(path: Path) -> OpenedCheckpoint:
    try:
        # Mapped, not read: the system brings in what is looked at. Files from before torch 1.6 can't be mapped.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except Exception as error:  # a damaged pickle can make torch raise nearly anything
        message = (
            f"`{path}` is damaged, no checkpoint, or holds objects that may run code when they're loaded, which is "
            f"refused here. What torch says: {error}"
        )
        raise UnpicklingError(message) from error
    if not isinstance(checkpoint, dict):
        message = f"`{path}` is no checkpoint: it holds a {type(checkpoint).__name__}, not a dict."
        raise UnpicklingError(message)
    tree = map_leaves(checkpoint, lambda _, leaf: StoredTensor.of(leaf.detach()) if is_plain(leaf) else leaf)
    return OpenedCheckpoint(path, "torch file", tree)
