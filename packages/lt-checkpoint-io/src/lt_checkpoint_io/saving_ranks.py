"""The ranks that save one checkpoint together, and what they tell each other about it."""

from datetime import timedelta
from typing import Any, Final

import torch.distributed as dist

_PATIENCE: Final = timedelta(hours=2)
"""Hashing and flushing a huge checkpoint may take longer than torch waits by default. A rank that dies ends the wait at
once."""


class SavingRanks:
    """All ranks of the job on a gloo group of their own, or those of a given group; one process where there's none.

    A group of their own lets them talk in the background while training talks on the default one, and keeps what they
    say off the accelerators. `meet` makes it, and makes it anew once the default group was left and joined again.

    Args:
        group: these ranks instead; nobody else may use the group while they save.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._given = group
        self._own: dist.ProcessGroup | None = None

    def meet(self) -> None:
        """Make the group where it's needed. Collective: every rank calls it, from the thread that trains."""
        if self._given is None and _is_joined() and not _is_alive(self._own):
            self._own = dist.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The group, after they've met; ``None``: there's one process."""
        return (self._given or self._own) if _is_joined() else None

    @property
    def rank(self) -> int:
        """This process's place among them."""
        return dist.get_rank(self._given) if _is_joined() else 0

    def broadcast(self, told: Any) -> Any:
        """Return what the first of them tells. Collective."""
        if self.group is None:
            return told
        shared = [told]
        dist.broadcast_object_list(shared, group=self.group, group_src=0)
        return shared[0]

    def gather(self, told: Any) -> list[Any]:
        """Return what each of them tells, in order. Collective."""
        if self.group is None:
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


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _is_alive(group: dist.ProcessGroup | None) -> bool:
    """Say whether a group is still there: leaving the default group ends all others with it."""
    if group is None:
        return False
    try:
        dist.get_process_group_ranks(group)
    except KeyError:
        return False
    return True
