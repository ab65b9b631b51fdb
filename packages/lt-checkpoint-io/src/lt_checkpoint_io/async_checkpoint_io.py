"""Saving in the background while training goes on."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any

from lt_checkpoint_io.agreed_poll import AgreedPoll
from lt_checkpoint_io.background import BackgroundWork
from lt_checkpoint_io.saving_ranks import SavingRanks
from lt_checkpoint_io.snapshot import snapshot
from lt_checkpoint_io.torch_checkpoint_io import TorchCheckpointIO
from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits, Placement, StoredCheckpoint
from lt_interfaces.torch_file import refuse_sharded


class AsyncCheckpointIO(CheckpointIO):
    """Lets another checkpoint IO write in the background what the state was at the moment of the call.

    `save_checkpoint` returns when a snapshot of the state is in CPU memory. At most one save is under way, so there's
    at most one snapshot: the next save waits for it. Removals are done in the order they were asked for, and only when
    the saves before them succeeded. A failure of a save or removal is raised once, with its own traceback, by whatever
    is called next of `poll`, `save_checkpoint`, `load_checkpoint`, `remove_checkpoint` and `teardown`; the Trainer
    polls at each step boundary. The interpreter doesn't exit before a pending save is written.

    Around `DistributedCheckpointIO` each rank takes a snapshot of its own shards, and the ranks talk on a process group
    of their own while training uses the default one. What failed on one rank is raised on all of them: a save by the
    same poll, or whatever comes next of `save_checkpoint`, `load_checkpoint` and `teardown`; a removal, which rank 0
    does alone, by the next save.

    Args:
        checkpoint_io: what writes; by default `TorchCheckpointIO`.

    Raises:
        ValueError: for a sharded checkpoint IO whose ranks share training's process group.

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
        self._ranks: SavingRanks | None = None
        if self._checkpoint_io.traits.sharded:
            self._ranks = _ranks_of(self._checkpoint_io)
        self._moment = AgreedPoll()
        self._work = BackgroundWork()

    @property
    def traits(self) -> CheckpointTraits:
        return replace(self._checkpoint_io.traits, asynchronous=True)

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Take a snapshot, once the previous save is over, and leave it to be written; collective if it's sharded.

        Raises:
            Exception: what went wrong in the background before; this checkpoint isn't saved then.
        """
        write = partial(self._checkpoint_io.save_checkpoint, path=path, storage_options=storage_options)
        if self._ranks is not None:
            self._save_together(self._ranks, checkpoint, write=write, doing=f"save `{path}`")
            return
        self._settle()
        refuse_sharded(checkpoint)
        self._work.add(partial(write, snapshot(checkpoint)))

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
        if self._is_alone:  # otherwise rank 0 may be the only one here, and a failure is raised where all are
            self._work.raise_failure()
        self._work.add(partial(self._checkpoint_io.remove_checkpoint, path))

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        self._work.wait()
        return self._checkpoint_io.stored(folder)

    def is_whole(self, path: str | PathLike[str]) -> bool:
        self._work.wait()
        return self._checkpoint_io.is_whole(path)

    def poll(self) -> None:
        if self._is_alone:
            self._work.raise_failure()
        elif self._moment.is_reached():
            self._settle()
        self._checkpoint_io.poll()

    def teardown(self) -> None:
        """Finish what's pending, end the thread and raise what went wrong; the next save starts anew."""
        self._work.close()
        try:
            self._checkpoint_io.teardown()
        finally:
            self._work.raise_failure()

    @property
    def _is_alone(self) -> bool:
        return self._ranks is None or self._ranks.are_alone

    def _save_together(
        self, ranks: SavingRanks, checkpoint: Mapping[str, Any], *, write: Callable[[dict[str, Any]], None], doing: str
    ) -> None:
        """Do as `save_checkpoint` says, on all ranks or on none."""
        self._work.wait()
        taken: dict[str, Any] = {}
        failure = self._work.take_failure()
        if failure is None:
            try:
                taken = snapshot(checkpoint)
            except Exception as error:
                failure = error
        ranks.in_training().raise_any(failure, doing)
        ranks.meet()
        self._moment = AgreedPoll()
        self._work.add(partial(_write_together, partial(write, taken), ranks, self._moment))

    def _settle(self) -> None:
        self._work.wait()
        self._work.raise_failure()


def _write_together(write: Callable[[], None], ranks: SavingRanks, moment: AgreedPoll) -> None:
    try:
        write()
    except BaseException:
        with suppress(RuntimeError):  # others are gone, and what went wrong first matters more
            moment.agree(ranks)
        raise


def _ranks_of(checkpoint_io: CheckpointIO) -> SavingRanks:
    """Return the ranks that save with a sharded checkpoint IO, on a group that training doesn't use."""
    ranks = getattr(checkpoint_io, "ranks", None)
    if not isinstance(ranks, SavingRanks):
        message = (
            f"`checkpoint_io={type(checkpoint_io).__name__}` is sharded: while it saves, the ranks talk to each other, "
            "and that mustn't mix with what training says meanwhile. Use it without `AsyncCheckpointIO`, or let them "
            "talk by a `lt_checkpoint_io.saving_ranks.SavingRanks`, its attribute `ranks`."
        )
        raise ValueError(message)
    return ranks
