"""Steps that take batches themselves: ``def training_step(self, dataloader_iter)``."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

from lt_fabric.data.fetching import MarkedStep
from lt_interfaces.errors import MisconfigurationException

ARGUMENT = "dataloader_iter"


class LoaderIterator:
    """What a step gets instead of a batch: ``next`` gives ``(batch, batch_idx, dataloader_idx)``, not yet moved."""

    def __init__(self, steps: Iterator[MarkedStep], taken: int = 0) -> None:
        self.taken = taken
        """Batches of the epoch that steps took so far."""
        self._steps = steps
        self._ahead: MarkedStep | None = next(steps, None)

    @property
    def has_next(self) -> bool:
        """Whether there's another batch."""
        return self._ahead is not None

    @property
    def is_at_last(self) -> bool:
        """Whether the next batch is the last one."""
        return self._ahead is None or self._ahead[3]

    def __iter__(self) -> "LoaderIterator":
        return self

    def __next__(self) -> tuple[Any, int, int]:
        if self._ahead is None:
            raise StopIteration
        batch, batch_idx, dataloader_idx, _ = self._ahead
        self._ahead = next(self._steps, None)
        self.taken += 1
        return batch, batch_idx, dataloader_idx


def takes_iterator(step: Any) -> bool:
    """Say whether a step takes batches itself."""
    return callable(step) and ARGUMENT in signature(step).parameters


def handed_over(steps: Iterator[MarkedStep], taken: int = 0) -> Iterator[MarkedStep]:
    """Yield the iterator itself for each step, until its batches are used up.

    Args:
        steps: the batches.
        taken: how many of the epoch came before these.

    Raises:
        MisconfigurationException: when a step took no batch, so that it would go on forever.
    """
    iterator = LoaderIterator(steps, taken)
    while iterator.has_next:
        taken = iterator.taken
        yield iterator, taken, 0, iterator.is_at_last
        if iterator.taken == taken:
            message = f"A step that takes `{ARGUMENT}` must call `next({ARGUMENT})`, but it took no batch."
            raise MisconfigurationException(message)
