"""Training data of which ranks have different amounts: all end the epoch together, and none waits for the others."""

from collections.abc import Callable, Iterator
from math import inf, isinf
from typing import Any, Final, Literal

import torch

from lt_fabric.data.combined_loader import Step
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.strategy import Strategy

UnevenData = Literal["stop", "pad"]

_END: Final = object()


class EqualSteps:
    """Lets every rank give equally many batches in an epoch.

    Where all loaders know their lengths, these are compared once. Where one doesn't, ranks tell each other with each
    batch whether they have another one, while they train on the one before: that takes one batch more read ahead.

    Args:
        strategy: whose ranks.
        policy: "stop": the epoch ends when a rank has no batch left; "pad": such a rank repeats a batch, which counts
            for nothing, until all are through.
    """

    def __init__(self, strategy: Strategy, policy: UnevenData) -> None:
        self._strategy: Final = strategy
        self._policy: Final = policy
        self._own: int | None = None
        self._is_told = False
        self.pads = False
        """Whether batches have a weight: 1, or 0 for those that only pad."""
        self.ahead = 0
        """Batches read ahead for this."""

    def settle(self, own: int | float, *, is_sized: bool) -> int | float:
        """Compare the ranks' numbers of batches and return the one that holds for all. Collective.

        Args:
            own: batches of this rank, limits applied; infinite when unknown.
            is_sized: whether it's sure that there will be as many.
        """
        if self._strategy.world_size == 1:
            return own
        mine = torch.tensor([own, float(is_sized)], dtype=torch.float64, device=self._strategy.root_device)
        rows = self._strategy.all_gather(mine).cpu()
        counts, are_sized = rows[:, 0].tolist(), bool(rows[:, 1].all())
        least, most = _whole(min(counts)), _whole(max(counts))
        self.pads, self.ahead, self._own = False, 0, None
        if not are_sized:
            self.pads, self.ahead = self._policy == "pad", 1
            return most if self.pads else least
        if least == most:
            return own
        self._tell(counts)
        self.pads = self._policy == "pad"
        self._own = int(own)
        return most if self.pads else least

    def given(self, steps: Iterator[Step], spare: Callable[[], Any], *, row: int) -> Iterator[Step]:
        """Return a rank's steps, ended or padded as agreed on.

        Args:
            steps: its own.
            spare: gives a batch to pad with, where none of the steps is left.
            row: how many steps of the epoch came before.
        """
        if self.ahead:
            return self._together(steps, spare, row)
        return self._padded(steps, spare, row) if self.pads else steps

    def weight_of(self, batch_idx: int) -> float:
        """Return what a batch counts for, where they have weights."""
        return float(self._own is None or batch_idx < self._own)

    def _padded(self, steps: Iterator[Step], spare: Callable[[], Any], row: int) -> Iterator[Step]:
        last: Any = _END
        for step in steps:
            last, row = step[0], row + 1
            yield step
        batch = spare() if last is _END else last
        while True:  # whoever iterates knows when all are through
            yield batch, row, 0
            row += 1

    def _together(self, steps: Iterator[Step], spare: Callable[[], Any], row: int) -> Iterator[Step]:
        exchange = self._strategy.open_flag_exchange(every=1)
        assert exchange is not None  # there are several ranks
        self._own = None
        last: Any = _END
        ahead: Any = next(steps, _END)
        exchange.exchange([ahead is not _END])
        while True:
            (with_batch,) = exchange.settle()
            if with_batch < self._strategy.world_size and (self._policy == "stop" or with_batch == 0):
                if with_batch:
                    self._tell([])
                return
            if ahead is _END:
                self._own = row if self._own is None else self._own
                current = (spare() if last is _END else last, row, 0)
            else:
                current = ahead
            ahead = next(steps, _END)
            exchange.exchange([ahead is not _END])
            last, row = current[0], row + 1
            yield current

    def _tell(self, counts: list[float]) -> None:
        """Say once that ranks have different amounts of data."""
        if self._is_told:
            return
        self._is_told = True
        found = f"Ranks have different numbers of training batches{f' ({_listed(counts)})' if counts else ''}"
        what = {
            "stop": "every epoch ends when the first rank has none left; with `uneven_data='pad'` all are trained on",
            "pad": "ranks without another one repeat a batch with weight zero until all are through",
        }
        rank_zero_warn(f"{found}: {what[self._policy]}.")


def _whole(count: float) -> int | float:
    return inf if isinf(count) else int(count)


def _listed(counts: list[float]) -> str:
    shown = ", ".join(str(_whole(count)) for count in counts[:8])
    return f"{shown}, ..." if len(counts) > 8 else shown
