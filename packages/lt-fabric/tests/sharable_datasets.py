"""Iterable datasets as users write them, in a module that worker processes can import."""

import random
from collections.abc import Iterator
from typing import Any

from torch.utils import data
from torch.utils.data import IterableDataset, get_worker_info


class Count(IterableDataset[int]):
    """Gives the same numbers in every process and worker."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class SizedCount(Count):
    def __len__(self) -> int:
        return self.size


class SplitCount(SizedCount):
    """Splits its numbers over workers, as torch's documentation shows it."""

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        return iter(range(self.size)) if worker is None else iter(range(worker.id, self.size, worker.num_workers))


class SplitInProperty(Count):
    @property
    def numbers(self) -> Iterator[int]:
        worker = data.get_worker_info()
        yield from range(worker.id if worker else 0, self.size, worker.num_workers if worker else 1)

    def __iter__(self) -> Iterator[int]:
        return self.numbers


class Around(IterableDataset[int]):
    """A dataset that's made of others."""

    def __init__(self, *parts: IterableDataset[int]) -> None:
        self.parts = list(parts)

    def __iter__(self) -> Iterator[int]:
        for part in self.parts:
            yield from part


class GoingOn(IterableDataset[int]):
    """Saves where it stands; a new pass goes on there, and begins anew after the end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        while self.at < self.size:
            self.at += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


class StartingAnew(GoingOn):
    """Saves where it stands; a new pass begins anew, except for the one after loading."""

    loaded = 0

    def __iter__(self) -> Iterator[int]:
        start, self.loaded = self.loaded, 0
        for number in range(start, self.size):
            self.at = number + 1
            yield number
        self.at = 0

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loaded = state["at"]


def split_in_worker(worker_id: int) -> None:
    """Give the worker its part, as torch's documentation shows it."""
    worker: Any = get_worker_info()
    first, last = worker.dataset.first, worker.dataset.last
    each = -(-(last - first) // worker.num_workers)
    worker.dataset.first = first + worker_id * each
    worker.dataset.last = min(worker.dataset.first + each, last)


class Range(IterableDataset[int]):
    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last))


def seed_in_worker(worker_id: int) -> None:
    """Use what the worker knows of itself for a seed, and split nothing."""
    random.seed(get_worker_info().seed)  # type: ignore[union-attr]  # it's called in a worker
