"""The contract of a checkpoint IO: where and how one checkpoint is stored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any


@dataclass(frozen=True)
class CheckpointTraits:
    """What the Trainer must know of a checkpoint IO."""

    remote: bool = False
    """Paths may be URLs."""
    sharded: bool = False
    """Every rank writes a part, so `CheckpointIO.save_checkpoint` is called on all ranks; otherwise on rank 0 only."""
    asynchronous: bool = False
    """`save_checkpoint` may return before the checkpoint is committed."""


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
            TypeError: for ``storage_options`` where it takes none.
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

    @abstractmethod
    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        """Remove one checkpoint; ordered after pending saves; quiet when it doesn't exist."""

    @abstractmethod
    def teardown(self) -> None:
        """Finish pending saves and raise what went wrong with them."""
