"""The contract of a checkpoint IO: where and how one checkpoint is stored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import Tensor

Place = tuple[Any, ...]
"""Where something is in nested dicts and lists: the keys and indices on the way to it."""
Placement = Callable[[Place, Tensor], Tensor | None]
"""Says which tensor one of a checkpoint is to be read into: given its place and an empty one on the ``meta`` device, it
returns a tensor of that shape, or ``None`` for a new one."""


@dataclass(frozen=True)
class CheckpointTraits:
    """What the Trainer must know of a checkpoint IO."""

    remote: bool = False
    """Paths may be URLs."""
    sharded: bool = False
    """Every rank writes a part, so `CheckpointIO.save_checkpoint` is called on all ranks; otherwise on rank 0 only."""
    asynchronous: bool = False
    """`save_checkpoint` may return before the checkpoint is committed."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A file or folder found where checkpoints are stored; whether it's whole, `CheckpointIO.is_whole` says."""

    path: str
    """Where it is, in the form that `CheckpointIO.load_checkpoint` takes."""
    modified_seconds: float
    """When it was last written, in seconds since the epoch."""


class CheckpointIO(ABC):
    """Saves, loads and removes one checkpoint, so that no crash loses what was committed before.

    Found by name in the entry-point group ``lt.checkpoint_ios``. A save is all or nothing: until it's committed, the
    path holds what it held before.
    """

    @property
    @abstractmethod
    def traits(self) -> CheckpointTraits:
        """What the Trainer must know: remote, sharded, asynchronous."""

    @abstractmethod
    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write one checkpoint and commit it. A failure raises and leaves the previous file whole.

        Raises:
            OSError: when the target can't be written, whatever the reason.
            TypeError: for ``storage_options`` where it takes none; for sharded tensors (DTensor) where rank 0 writes
                alone, before anything is written: it would write its part and call it the checkpoint.
        """

    @abstractmethod
    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one checkpoint.

        Args:
            path: what `save_checkpoint` was given.
            map_location: as in `torch.load`; ``None`` loads to the CPU.
            weights_only: ``None`` and ``True`` never unpickle arbitrary objects.

        Raises:
            FileNotFoundError: when there's nothing at the path.
        """

    def load_placed(
        self, path: str | PathLike[str], placement: Placement, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one checkpoint, its tensors into those that ``placement`` names, where this IO can do that.

        Each rank then reads only what it holds of a sharded tensor. By default everything is read whole, and nothing is
        placed: whoever takes the checkpoint finds out from the tensors in it.

        Args:
            path: what `save_checkpoint` was given.
            placement: where tensors are to be read into; no tensor is changed before all were asked for.
            weights_only: as in `load_checkpoint`.
        """
        return self.load_checkpoint(path, weights_only=weights_only)

    @abstractmethod
    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        """Remove one checkpoint; ordered after pending saves; quiet when it doesn't exist."""

    @abstractmethod
    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        """Return what lies directly in a folder, whole or not, without hidden entries; nothing if there's no folder."""

    @abstractmethod
    def is_whole(self, path: str | PathLike[str]) -> bool:
        """Say whether a checkpoint was committed here and nothing is missing from it; False where nothing is."""

    @abstractmethod
    def poll(self) -> None:
        """Raise what went wrong with a save that's over; never waits for one that isn't.

        The loop calls it at step boundaries once an asynchronous IO has saved something.
        """

    @abstractmethod
    def teardown(self) -> None:
        """Finish pending saves and raise what went wrong with them."""


def placed_in(parts: Mapping[Place, Placement | None]) -> Placement:
    """Return the placement of a whole checkpoint, made of those of its parts.

    Args:
        parts: by the place of each part; what lies in none of them is read whole.
    """

    def placement(place: Place, like: Tensor) -> Tensor | None:
        for start, within in parts.items():
            if within is not None and place[: len(start)] == start:
                return within(place[len(start) :], like)
        return None

    return placement
