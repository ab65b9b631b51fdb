"""Data whose items say which they are, and every kind of loader that reads them."""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from kill_matrix.cells import Cell
from lt_fabric.data import CombinedLoader

NUM_SAMPLES = 40
BATCH_SIZE = 4
SIZE = 6

Item = tuple[int, Tensor, Tensor]


class Numbered(Dataset[Item]):
    """Items ``(index, inputs, target)`` that depend on the index alone."""

    def __init__(self, num_samples: int = NUM_SAMPLES, *, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(num_samples, SIZE, generator=generator)
        self.targets = self.inputs.sum(1, keepdim=True).sin()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Item:
        return index, self.inputs[index], self.targets[index]


class RandomItems(Numbered):
    """Items that are changed at random when they're read, as by an augmentation."""

    def __getitem__(self, index: int) -> Item:
        index, inputs, target = super().__getitem__(index)
        return index, inputs + 0.1 * torch.randn(SIZE), target * random.uniform(0.9, 1.1)


class Stream(IterableDataset[Item]):
    """The items one after another, without a position."""

    def __init__(self) -> None:
        self.items = Numbered()
        self.position = 0

    def __iter__(self) -> Iterator[Item]:
        self.position = 0
        yield from self._rest()

    def _rest(self) -> Iterator[Item]:
        while self.position < len(self.items):
            self.position += 1
            yield self.items[self.position - 1]
        self.position = 0


class PositionedStream(Stream):
    """The items one after another, from wherever it's put."""

    def __iter__(self) -> Iterator[Item]:
        yield from self._rest()

    def state_dict(self) -> dict[str, Any]:
        """Say which item comes next."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that item."""
        self.position = state["position"]


class OwnSampler(Sampler[int]):
    """A user's sampler that draws index by index, from Python's generator or from the one that dropout draws from."""

    def __init__(self, num_samples: int, *, by_torch: bool) -> None:
        self.num_samples = num_samples
        self.by_torch = by_torch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.num_samples):
            yield int(torch.randint(self.num_samples, ())) if self.by_torch else random.randrange(self.num_samples)


def training_loader(cell: Cell) -> Any:
    """Return the loader that the cell names, or several."""
    kind = cell.special.loader
    if kind.startswith("combined"):
        return _combined(cell)
    if kind.startswith("iterable"):
        return DataLoader(PositionedStream() if kind == "iterable" else Stream(), batch_size=BATCH_SIZE)
    if kind == "stateful":
        return _stateful(cell, Numbered())
    return _loader(cell, RandomItems() if kind.startswith("random items") else Numbered())


def validation_loader() -> DataLoader[Item]:
    """Return three batches that no run trains on."""
    return DataLoader(Numbered(12, seed=2), batch_size=BATCH_SIZE)


def _loader(cell: Cell, data: Numbered) -> DataLoader[Item]:
    return DataLoader(data, num_workers=cell.workers, **_drawing(cell, data))


def _drawing(cell: Cell, data: Numbered) -> dict[str, Any]:
    """Return the arguments of a DataLoader that decide in which order samples are drawn."""
    kind, size = cell.special.loader, {"batch_size": BATCH_SIZE}
    if kind == "batch sampler":
        order = RandomSampler(data) if cell.shuffle else SequentialSampler(data)
        return {"batch_sampler": BatchSampler(order, BATCH_SIZE, drop_last=False)}
    samplers: dict[str, Any] = {
        "sampler's generator": lambda: RandomSampler(data, generator=_generator()),
        "weighted": lambda: WeightedRandomSampler([1.0 + index for index in range(len(data))], len(data)),
        "replacement": lambda: RandomSampler(data, replacement=True, num_samples=len(data)),
        "own sampler": lambda: OwnSampler(len(data), by_torch=False),
        "own sampler, by torch": lambda: OwnSampler(len(data), by_torch=True),
    }
    if kind in samplers:
        return {**size, "sampler": samplers[kind]()}
    more: dict[str, Any] = {"generator": _generator()} if kind == "generator" else {}
    return {**size, "shuffle": cell.shuffle, "persistent_workers": kind == "persistent workers", **more}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def _stateful(cell: Cell, data: Numbered) -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader  # only for the cells about it

    return StatefulDataLoader(data, batch_size=BATCH_SIZE, shuffle=cell.shuffle, num_workers=cell.workers)


def _combined(cell: Cell) -> CombinedLoader:
    make = _stateful if cell.special.loader == "combined, stateful" else _loader
    mode = "max_size" if cell.special.loader == "combined, longest" else "max_size_cycle"
    return CombinedLoader({"long": make(cell, Numbered()), "short": make(cell, Numbered(24, seed=3))}, mode)
