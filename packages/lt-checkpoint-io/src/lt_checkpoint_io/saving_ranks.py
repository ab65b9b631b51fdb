"""The ranks that save one checkpoint together, and what they tell each other about it."""

from datetime import timedelta
from typing import Any, Final

import torch.distributed as dist

_PATIENCE: Final = timedelta(hours=2)
"""Hashing and flushing a huge checkpoint may take longer than torch waits by default. A rank that dies ends the wait at
once."""


class SavingRanks:
    """All ranks of the job, or those of a given group; one process where there's none.

    They talk on the default group, as training does, until `meet` makes them a gloo group of their own. On that they
    may talk in the background while training goes on.

    Args:
        group: these ranks, and where they always talk; nobody else may use it while they save.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._given = group
        self._own: dist.ProcessGroup | None = None

    def meet(self) -> None:
        """Make their own group; anew once the default group was left and joined again.

        Collective: every rank calls it, from the thread that trains.
        """
        if self._given is None and not self.are_alone and not _is_alive(self._own):
            self._own = dist.new_group(backend="gloo", timeout=_PATIENCE)

    def in_training(self) -> "SavingRanks":
        """Return them as they talk while training waits: on its group, which a job that fails can close."""
        return SavingRanks(self._given)

    @property
    def are_alone(self) -> bool:
        """Whether this is the only process."""
        return not (dist.is_available() and dist.is_initialized())

    @property
    def group(self) -> dist.ProcessGroup | None:
        """Where they talk; ``None``: on the default group."""
        return self._given or (self._own if _is_alive(self._own) else None)

    @property
    def rank(self) -> int:
        """This process's place among them."""
        return 0 if self.are_alone else dist.get_rank(self._given)

    def broadcast(self, told: Any) -> Any:
        """Return what the first of them tells. Collective."""
        if self.are_alone:
            return told
        shared = [told]
        dist.broadcast_object_list(shared, group=self.group, group_src=0)
        return shared[0]

    def gather(self, told: Any) -> list[Any]:
        """Return what each of them tells, in order. Collective."""
        if self.are_alone:
            return [told]
        everything: list[Any] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(everything, told, group=self.group)
        return everything

    def raise_any(self, failure: BaseException | None, doing: str) -> None:
        """Raise this rank's failure, or name that of another rank. Collective.

        Args:
            failure: what went wrong here, if anything did.
            doing: what couldn't be done, as ``"save `last.ckpt`"``.

        Raises:
            OSError: another rank failed.
        """
        texts = self.gather(None if failure is None else repr(failure))
        if failure is not None:
            raise failure
        failed = [f"rank {rank}: {text}" for rank, text in enumerate(texts) if text is not None]
        if failed:
            message = f"Other ranks couldn't {doing}, so none did. {'; '.join(failed)}"
            raise OSError(message)


def _is_alive(group: dist.ProcessGroup | None) -> bool:
    """Say whether a group is still there: leaving the default group ends all others with it."""
    if group is None:
        return False
    try:
        dist.get_process_group_ranks(group)
    except KeyError:
        return False
    return True
