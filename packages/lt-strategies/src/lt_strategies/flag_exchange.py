"""Flags of all ranks, counted by a collective that nobody waits for."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from lt_interfaces import FlagExchange


class AsyncFlagExchange(FlagExchange):
    """Sums the flags of all ranks over the process group's CPU backend, asynchronously.

    Args:
        every: at how many boundaries one exchange is made.
    """

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._boundaries = 0
        self._work: dist.Work | None = None
        self._counts: Tensor | None = None

    def exchange(self, flags: Sequence[bool]) -> Sequence[int] | None:
        self._boundaries += 1
        if self._boundaries % self._every:
            return None
        outcome = self.settle() or [0] * len(flags)
        self._counts = torch.tensor(flags, dtype=torch.int32)
        self._work = dist.all_reduce(self._counts, async_op=True)
        return outcome

    def settle(self) -> Sequence[int]:
        if self._counts is None:
            return []
        if self._work is not None:
            self._work.wait()
            self._work = None
        counts: list[int] = self._counts.tolist()
        return counts
