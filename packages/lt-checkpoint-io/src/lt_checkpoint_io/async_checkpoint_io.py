"""Saving in the background while training goes on."""

from collections.abc import Mapping
from functools import partial
from os import PathLike
from typing import Any

from lt_checkpoint_io.background import BackgroundWork
from lt_checkpoint_io.snapshot import snapshot
from lt_checkpoint_io.torch_checkpoint_io import TorchCheckpointIO
from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits, Placement, StoredCheckpoint


class AsyncCheckpointIO(CheckpointIO):
    """Lets another checkpoint IO write in the background what the state was at the moment of the call.

    `save_checkpoint` returns when a snapshot of the state is in CPU memory. At most one save is under way, so there's
    at most one snapshot: the next save waits for it. Removals are done in the order they were asked for, and only when
    the saves before them succeeded. A failure of a save or removal is raised once, with its own traceback, by whatever
    is called next of `poll`, `save_checkpoint`, `load_checkpoint`, `remove_checkpoint` and `teardown`; the Trainer
    polls at each step boundary. The interpreter doesn't exit before a pending save is written.

    Args:
        checkpoint_io: what writes; by default `TorchCheckpointIO`.

    Raises:
        ValueError: for a sharded checkpoint IO.

    >>> import tempfile, torch
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> weight = torch.ones(2)
    >>> checkpoint_io = AsyncCheckpointIO()
    >>> checkpoint_io.save_checkpoint({"weight": weight}, path)
    >>> _ = weight.zero_()
    >>> checkpoint_io.load_checkpoint(path)
    {'weight': tensor([1., 1.])}
    >>> checkpoint_io.teardown()
    """

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        self._checkpoint_io = TorchCheckpointIO() if checkpoint_io is None else checkpoint_io
        if self._checkpoint_io.traits.sharded:
            message = (
                f"`checkpoint_io={type(self._checkpoint_io).__name__}` is sharded: while it saves, the ranks talk to "
                "each other, and that mustn't mix with what training says meanwhile. Use it without "
                "`AsyncCheckpointIO`."
            )
            raise ValueError(message)
        self._work = BackgroundWork()

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits(remote=self._checkpoint_io.traits.remote, asynchronous=True)

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Take a snapshot, once the previous save is over, and leave it to be written.

        Raises:
            Exception: what went wrong in the background before; this checkpoint isn't saved then.
        """
        self._settle()
        self._work.add(partial(self._checkpoint_io.save_checkpoint, snapshot(checkpoint), path, storage_options))

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self._settle()
        return self._checkpoint_io.load_checkpoint(path, map_location, weights_only)

    def load_placed(
        self, path: str | PathLike[str], placement: Placement, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self._settle()
        return self._checkpoint_io.load_placed(path, placement, weights_only)

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        """Leave a checkpoint to be removed, once the saves before have succeeded."""
        self._work.raise_failure()
        self._work.add(partial(self._checkpoint_io.remove_checkpoint, path))

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        self._work.wait()
        return self._checkpoint_io.stored(folder)

    def is_whole(self, path: str | PathLike[str]) -> bool:
        self._work.wait()
        return self._checkpoint_io.is_whole(path)

    def poll(self) -> None:
        self._work.raise_failure()
        self._checkpoint_io.poll()

    def teardown(self) -> None:
        """Finish what's pending, end the thread and raise what went wrong; the next save starts anew."""
        self._work.close()
        try:
            self._checkpoint_io.teardown()
        finally:
            self._work.raise_failure()

    def _settle(self) -> None:
        self._work.wait()
        self._work.raise_failure()
