"""Loading a local checkpoint, be it a file or the folder of a sharded one: whole, or tensor by tensor in place."""

from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lt_checkpoint_io.tensor_tree import Place
from lt_interfaces.checkpoint_io import Placement
from lt_interfaces.commit import MANIFEST_NAME, recover_folder
from lt_interfaces.torch_file import load_torch_file

if TYPE_CHECKING:
    from lt_checkpoint_io.placed_reading import PlacedReading


def load_local(
    path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a whole checkpoint; arguments and errors as of `CheckpointIO.load_checkpoint`."""
    source = found(path)
    if not source.is_dir():
        return load_torch_file(source, map_location, weights_only)
    _refuse_other(source)
    # Deferred: torch.distributed.checkpoint takes over a second, which saving and loading files shouldn't cost.
    from lt_checkpoint_io.sharded_folder import ShardedFolder

    folder = ShardedFolder(source, weights_only is not False)
    tensors: dict[str, Tensor] = {}

    def fill(_: Place, name: str, __: Tensor) -> Tensor:
        if name not in tensors:
            tensors[name] = _moved(folder.read(name), map_location)
        return tensors[name]

    return folder.filled(fill)


def load_local_placed(
    path: str | PathLike[str], placement: Placement, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a folder into the tensors that ``placement`` names, a file whole; as `CheckpointIO.load_placed` says."""
    source = found(path)
    if not source.is_dir():
        return load_torch_file(source, weights_only=weights_only)
    return placed(source, placement, weights_only).read()


def placed(folder: Path, placement: Placement, weights_only: bool | None) -> "PlacedReading":
    """Ask for the place of each tensor in a folder; nothing is changed yet."""
    _refuse_other(folder)
    # Deferred: as in `load_local`.
    from lt_checkpoint_io.placed_reading import PlacedReading
    from lt_checkpoint_io.sharded_folder import ShardedFolder

    return PlacedReading(ShardedFolder(folder, weights_only is not False), placement)


def found(path: str | PathLike[str]) -> Path:
    """Return where a checkpoint is.

    Raises:
        FileNotFoundError: nothing is there.
    """
    source = Path(path)
    if not source.exists():
        # A kill between the two renames of a replacement, where names can't be exchanged in one step. Another rank may
        # put it back at the same moment.
        with suppress(FileNotFoundError):
            recover_folder(source)
    if not source.exists():
        message = f"There's no checkpoint at `{source}`."
        raise FileNotFoundError(message)
    return source


def holds_checkpoint(folder: Path) -> bool:
    """Say whether a folder is that of a sharded checkpoint, be it whole or torn."""
    # Deferred: as in `load_local`.
    from lt_checkpoint_io.sharded_folder import is_sharded_folder

    return (folder / MANIFEST_NAME).is_file() or is_sharded_folder(folder)


def _refuse_other(folder: Path) -> None:
    if not holds_checkpoint(folder):
        message = (
            f"`{folder}` is a folder, but not that of a sharded checkpoint. Give the path of the checkpoint in it."
        )
        raise IsADirectoryError(message)


def _moved(tensor: Tensor, map_location: Any | None) -> Tensor:
    """Move a tensor that was read to the CPU where `torch.load` would have put it."""
    if map_location is None:
        return tensor
    if callable(map_location):
        storage = map_location(tensor.untyped_storage(), "cpu")
        return tensor if storage is None else tensor.to(storage.device)
    if isinstance(map_location, Mapping):
        return tensor.to(map_location.get("cpu", "cpu"))
    return tensor.to(map_location)
