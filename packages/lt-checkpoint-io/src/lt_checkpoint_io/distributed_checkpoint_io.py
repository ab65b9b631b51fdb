"""A checkpoint as a folder that every rank writes its part of."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch.distributed as dist
from torch import Tensor

from lt_checkpoint_io.folder_loading import found, holds_checkpoint, load_local, load_local_placed, placed
from lt_checkpoint_io.saving_ranks import SavingRanks
from lt_checkpoint_io.tensor_tree import Place, dotted, leaves
from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits, Placement, StoredCheckpoint
from lt_interfaces.commit import commit_folder, is_whole, remove_committed, visible_entries

if TYPE_CHECKING:
    from lt_checkpoint_io.sharded_folder import SplitCheckpoint


class DistributedCheckpointIO(CheckpointIO):
    """Writes sharded checkpoints: a folder of torch.distributed.checkpoint shards, the rest, and a manifest.

    The dict that every rank gives may hold sharded tensors (DTensor, ShardedTensor) anywhere; what isn't sharded is
    written as rank 0 has it. The folder must be on storage that all ranks see. It appears under its name only when
    every rank has written its part and all of it is on disk, so no crash of any rank loses what was there.

    Works without a process group too. Single files, as `TorchCheckpointIO` writes them, are read as well.

    Args:
        process_group: the ranks that save together, on a group that nobody else uses meanwhile; ``None`` means all.
            Give a gloo group to keep the exchange of file names off the accelerators.

    >>> import tempfile, torch
    >>> checkpoint_io = DistributedCheckpointIO()
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> checkpoint_io.save_checkpoint({"epoch": 3, "state_dict": {"weight": torch.ones(2)}}, path)
    >>> checkpoint_io.load_checkpoint(path)
    {'epoch': 3, 'state_dict': {'weight': tensor([1., 1.])}}
    """

    def __init__(self, process_group: dist.ProcessGroup | None = None) -> None:
        self.ranks: Final = SavingRanks(process_group)
        """The ranks that save together."""

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits(sharded=True)

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write one checkpoint, each rank its part; collective, returns when it is committed.

        Raises:
            OSError: on all ranks, when one couldn't write its part, or failed in any way.
            TypeError: for ``storage_options``.
        """
        parts: SplitCheckpoint | None = None
        failure: Exception | None = None
        try:
            parts = _split(checkpoint, self.ranks.rank, storage_options)
        except Exception as error:
            failure = error
        self.ranks.raise_any(failure, f"save `{path}`")
        assert parts is not None
        if self.ranks.rank == 0:
            self._save_first(parts, Path(path))
        else:
            self._save_other(parts, Path(path))

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one whole checkpoint, full tensors included; every rank may call it alone.

        `load_placed` reads only what a rank needs of sharded tensors.
        """
        return load_local(path, map_location, weights_only)

    def load_placed(
        self, path: str | PathLike[str], placement: Placement, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one checkpoint into the tensors that ``placement`` names, however they're sharded here; a file whole.

        Each rank reads the parts that it holds; nothing is communicated, so every rank may call it alone. Another
        number of ranks than at saving, or none, is fine. Beside the tensors, one stored part is in memory at a time.

        Args:
            path: what `save_checkpoint` was given.
            placement: where tensors are to be read into (DTensor, ShardedTensor, plain ones, on any device); what it
                returns ``None`` for is read whole to the CPU. No tensor is changed before all were asked for.
            weights_only: as in `load_checkpoint`.

        Raises:
            ValueError: a tensor has another shape than the stored one; nothing was changed.
        """
        return load_local_placed(path, placement, weights_only)

    def load_into(
        self, path: str | PathLike[str], state: Mapping[str, Any], weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Fill the tensors of a state in place, as `load_placed` does; return the whole checkpoint with them.

        Args:
            path: what `save_checkpoint` was given; a folder.
            state: tensors in the same nested places as in the checkpoint: ``{"state_dict": model.state_dict()}``.
            weights_only: as in `load_checkpoint`.

        Returns:
            The checkpoint. Where ``state`` has a tensor, it's that very tensor; any other is read whole to the CPU.

        Raises:
            ValueError: a tensor of ``state`` isn't in the checkpoint, or has another shape there; nothing was changed.
        """
        folder = found(path)
        if not folder.is_dir():
            message = f"`{folder}` is a file; sharded tensors are filled from a folder. `load_checkpoint` reads files."
            raise NotADirectoryError(message)
        wanted = {place: leaf for place, leaf in leaves(dict(state)) if isinstance(leaf, Tensor)}
        reading = placed(folder, lambda place, _: wanted.pop(place, None), weights_only)
        _refuse_missing(folder, wanted)
        return reading.read()

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        """Remove one checkpoint; rank 0 does it, the others may call it too."""
        if self.ranks.rank == 0:
            remove_committed(path)

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        return [StoredCheckpoint(path, seconds) for path, seconds in visible_entries(folder)]

    def is_whole(self, path: str | PathLike[str]) -> bool:
        return is_whole(path)

    def poll(self) -> None:
        """Nothing: a save is over when it returns."""

    def teardown(self) -> None:
        """Nothing: a save is over when it returns."""

    def _save_first(self, parts: "SplitCheckpoint", path: Path) -> None:
        """Save on rank 0, which owns the folder, commits it, and tells the others where it is and how it ended."""
        # Deferred: as in `_split`.
        from lt_checkpoint_io.sharded_folder import read_index

        try:
            _refuse_other_folder(path)
            with commit_folder(path) as folder:
                parts.write_rest(folder)
                self.ranks.broadcast(_News(True, str(folder)))
                self._write_tensors(parts, folder, path)
                # A rank that doesn't see this folder has written its shards somewhere else: they would be missing here.
                read_index(folder)
        except Exception as error:
            with suppress(RuntimeError):  # who died can't be told, and what went wrong first matters more
                self.ranks.broadcast(_News(False, repr(error)))
            raise
        self.ranks.broadcast(_News(True, ""))

    def _save_other(self, parts: "SplitCheckpoint", path: Path) -> None:
        folder = self.ranks.broadcast(None)
        _raise_failure(folder, path)
        try:
            self._write_tensors(parts, Path(folder.text), path)
        finally:
            outcome = self.ranks.broadcast(None)
        _raise_failure(outcome, path)

    def _write_tensors(self, parts: "SplitCheckpoint", folder: Path, path: Path) -> None:
        """Write this rank's tensors; raises on all ranks when one couldn't."""
        failure: Exception | None = None
        try:
            parts.write_tensors(folder, self.ranks.group)
        except Exception as error:
            failure = error
        self.ranks.raise_any(failure, f"save `{path}`")


@dataclass(frozen=True)
class _News:
    """What rank 0 tells the others: where the folder is, or what went wrong."""

    is_good: bool
    text: str


def _split(checkpoint: Mapping[str, Any], rank: int, storage_options: Any | None) -> "SplitCheckpoint":
    # Deferred: torch.distributed.checkpoint takes over a second, which saving and loading files shouldn't cost.
    from lt_checkpoint_io.sharded_folder import split

    if storage_options is not None:
        message = f"`storage_options` came as {storage_options!r}, but a local folder takes none; pass None."
        raise TypeError(message)
    return split(checkpoint, rank)


def _refuse_other_folder(path: Path) -> None:
    """Refuse to replace, which means to delete, a folder that no sharded checkpoint is in."""
    if path.is_dir() and not holds_checkpoint(path) and any(path.iterdir()):
        message = f"The folder `{path}` holds something else than a checkpoint; remove it or choose another name."
        raise IsADirectoryError(message)


def _raise_failure(news: _News, path: Path) -> None:
    if not news.is_good:
        message = f"Rank 0 couldn't save the checkpoint `{path}`: {news.text}"
        raise OSError(message)


def _refuse_missing(path: Path, missing: Mapping[Place, Any]) -> None:
    if missing:
        names = sorted(map(dotted, missing))
        shown = ", ".join(f"`{name}`" for name in names[:10]) + (" and others" if len(names) > 10 else "")
        message = f"`state` has {len(names)} tensors that the checkpoint `{path}` doesn't hold: {shown}."
        raise ValueError(message)
