"""A loop that goes through epochs as training does, saves where it's told, and kinds of loaders for it."""

import io
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from math import inf
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)
from torchdata.stateful_dataloader import StatefulDataLoader

from lt_fabric.data import CombinedLoader, DataPosition, batches
from lt_interfaces.plain_values import from_plain, to_plain
from lt_interfaces.rng import capture_rng_state, restore_rng_state

Loaders: TypeAlias = Callable[[], Any]

# --- the loop ---


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def stored(state: Any) -> Any:
    """Return the state as it comes out of a checkpoint file."""
    file = io.BytesIO()
    torch.save(to_plain(state, "position"), file)
    file.seek(0)
    return from_plain(torch.load(file, weights_only=True))


@dataclass
class Save:
    """What a checkpoint holds, as far as data goes."""

    epoch: int
    position: Any
    rng: Any
    steps_before: int


@dataclass
class Loop:
    """Goes through epochs; draws from the global generators at every batch, as dropout does."""

    loaders: Any
    limit: int | float = inf
    saves_at: tuple[int, ...] = ()
    """Numbers of the boundaries at which to save: one after each batch, one after each epoch."""
    leaves_after: int | None = None
    """Batches after which each epoch is left, as `max_steps` does."""
    mode: str = "max_size_cycle"
    seen: list[Any] = field(default_factory=list)
    saved: list[Save] = field(default_factory=list)
    boundaries: int = 0

    def __post_init__(self) -> None:
        loaders = self.loaders
        self.combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, self.mode)
        self.position = DataPosition(self.combined, is_limited=self.limit < self.combined.num_batches)

    def run(self, epochs: int, start: Save | None = None) -> "Loop":
        if start is not None:
            self.position.load_state_dict(stored(start.position))
            restore_rng_state(start.rng)
        for epoch in range(0 if start is None else start.epoch, epochs):
            self._run_epoch(epoch)
        return self

    def _run_epoch(self, epoch: int) -> None:
        row, ahead = self.position.row, self.position.batches_ahead
        left = self.limit - row
        steps = self.position.steps(ahead, left)
        if not ahead and left < inf:
            steps = islice(steps, int(left))
        taken: Iterable[Any] = batches(steps) if ahead else steps
        is_exhausted = False
        for batch, batch_idx, *_ in taken:
            assert batch_idx == row
            row += 1
            draws = (random.random(), np.random.random(), torch.rand(()).item())
            self.seen.append((epoch, batch_idx, plain(batch), draws))
            if row == self.leaves_after:
                break
            self._boundary(epoch, row)
        else:
            is_exhausted = True
        self.position.end_epoch(is_exhausted=is_exhausted)
        self._boundary(epoch + 1, 0)

    def _boundary(self, epoch: int, row: int) -> None:
        if self.boundaries in self.saves_at:
            rng, position = capture_rng_state(), self.position.state_dict(row)
            self.saved.append(Save(epoch, stored(position), rng, len(self.seen)))
        self.boundaries += 1


def plain(batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.tolist()
    if isinstance(batch, list | tuple):
        return [plain(part) for part in batch]
    if isinstance(batch, dict):
        return {name: plain(part) for name, part in batch.items()}
    return batch


# --- datasets ---


class Recording(Dataset[int]):
    """Map-style set that records which items were read."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


class Noisy(Dataset[float]):
    """Items that draw from the global generators and from some of the set's own."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.of_python = random.Random(1)
        self.of_numpy = np.random.default_rng(2)
        self.of_old_numpy = np.random.RandomState(3)
        self.of_torch = torch.Generator().manual_seed(4)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> float:
        own = self.of_python.random() + self.of_numpy.random() + self.of_old_numpy.random()
        noise = random.random() + np.random.random() + torch.rand(()).item()
        return index + own + torch.rand((), generator=self.of_torch).item() + noise


class Stream(IterableDataset[int]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length))


class StatefulStream(IterableDataset[float]):
    """Saves its own position."""

    def __init__(self, length: int, *, is_noisy: bool = True) -> None:
        self.length = length
        self.is_noisy = is_noisy
        self.at = 0

    def __iter__(self) -> Iterator[float]:
        while self.at < self.length:
            self.at += 1
            yield self.at + (torch.rand(()).item() if self.is_noisy else 0.0)
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class SizedStream(StatefulStream):
    def __len__(self) -> int:
        return self.length


# --- samplers and loaders ---


class Lazy:
    """Batch sampler that draws each batch from python's global generator when it's asked for."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(4):
            yield [random.randrange(11) for _ in range(3)]


class OwnRandom:
    """Sampler that draws each index from a generator of its own when it's asked for."""

    def __init__(self) -> None:
        self.generator = random.Random(8)

    def __len__(self) -> int:
        return 11

    def __iter__(self) -> Iterator[int]:
        for _ in range(11):
            yield self.generator.randrange(11)


class StatefulSampler:
    """Saves how far it is; each pass has another order."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.at = 0
        self.passes = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        while self.at < self.length:
            self.at += 1
            yield (self.at * 3 + self.passes) % self.length
        self.at = 0
        self.passes += 1

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at, self.passes = state["at"], state["passes"]


class StatefulBatchSampler(StatefulSampler):
    """Gives batches of one."""

    def __iter__(self) -> Iterator[list[int]]:  # type: ignore[override]
        return ([index] for index in super().__iter__())


class Key:
    """An index that no checkpoint can hold."""

    def __init__(self, number: int) -> None:
        self.number = number


class Keyed(Dataset[int]):
    def __getitem__(self, key: Key) -> int:  # type: ignore[override]
        return key.number


class KeySampler:
    """Batches of keys, shuffled with torch's global generator when the pass begins."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[list[Key]]:
        return iter([[Key(number)] for number in torch.randperm(5).tolist()])


class Doubling(DataLoader[int]):
    """A user's loader that changes batches as they come, and whose __init__ takes other arguments."""

    def __init__(self, length: int, size: int) -> None:
        super().__init__(Recording(length), size, shuffle=True)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            yield batch * 2


class StatefulIterable:
    """No DataLoader, but it saves its own position."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        while self.at < 5:
            self.at += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def own(number: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def replacing() -> RandomSampler:
    return RandomSampler(range(11), replacement=True, num_samples=40, generator=own())


POSITIONED: dict[str, Loaders] = {
    "plain": lambda: DataLoader(Recording(11), 3),
    "shuffled": lambda: DataLoader(Recording(11), 3, shuffle=True),
    "own generator": lambda: DataLoader(Recording(11), 3, shuffle=True, generator=own()),
    "drop last": lambda: DataLoader(Recording(11), 3, shuffle=True, drop_last=True),
    "whole batches": lambda: DataLoader(Recording(12), 3, shuffle=True),
    "unbatched": lambda: DataLoader(Recording(5), None, shuffle=True),
    "weighted": lambda: DataLoader(Recording(4), 2, sampler=WeightedRandomSampler([1, 2, 3, 4], 9)),
    "replacement": lambda: DataLoader(Recording(11), 8, sampler=replacing()),
    "batch sampler": lambda: DataLoader(
        Recording(11), batch_sampler=BatchSampler(SequentialSampler(range(11)), 4, False)
    ),
    "lazy batch sampler": lambda: DataLoader(Recording(11), batch_sampler=Lazy()),
    "lazy own sampler": lambda: DataLoader(Recording(11), 3, sampler=OwnRandom()),
    "stateful sampler": lambda: DataLoader(Recording(12), 3, sampler=StatefulSampler(12)),
    "stateful batch sampler": lambda: DataLoader(Recording(5), batch_sampler=StatefulBatchSampler(5)),
    "keys": lambda: DataLoader(Keyed(), batch_sampler=KeySampler()),
    "noisy items": lambda: DataLoader(Noisy(11), 3, shuffle=True),
    "one batch": lambda: DataLoader(Noisy(2), 3, shuffle=True),
    "subclass": lambda: Doubling(11, 3),
    "StatefulDataLoader": lambda: StatefulDataLoader(Noisy(11), 3, shuffle=True),
    "StatefulDataLoader, own generator": lambda: StatefulDataLoader(Recording(11), 3, shuffle=True, generator=own()),
    "StatefulDataLoader, weighted": lambda: StatefulDataLoader(
        Recording(4), 2, sampler=WeightedRandomSampler([1, 2, 3, 4], 9)
    ),
    "StatefulDataLoader, stateful set": lambda: StatefulDataLoader(StatefulStream(11), 3),
    "stateful set": lambda: DataLoader(StatefulStream(11), 3),
    "stateful set of whole batches": lambda: DataLoader(StatefulStream(12), 3),
    "sized stateful set": lambda: DataLoader(SizedStream(11), 3),
    "sized stateful set of whole batches": lambda: DataLoader(SizedStream(12), 3),
    "stateful iterable": StatefulIterable,
    "range": lambda: range(4),
}
"""Loaders that go on without reading what was seen (a range needn't: it's there)."""


def several(mode: str) -> Loaders:
    return lambda: CombinedLoader(
        {"long": DataLoader(Noisy(11), 2, shuffle=True), "short": DataLoader(Recording(5), 2, shuffle=True)}, mode
    )


def of_unknown_length(mode: str) -> Loaders:
    return lambda: CombinedLoader(
        [DataLoader(StatefulStream(6), 2), DataLoader(Noisy(9), 2, shuffle=True), StatefulIterable()], mode
    )


COMBINED: dict[str, Loaders] = {
    f"{kind.__name__}, {mode}": kind(mode)
    for kind in (several, of_unknown_length)
    for mode in ("min_size", "max_size", "max_size_cycle")
}


class Rereadable:
    def __iter__(self) -> Iterator[int]:
        yield from range(5)


READ_AGAIN: dict[str, Loaders] = {
    "stream": lambda: DataLoader(Stream(11), 3),
    "iterable": Rereadable,
}
"""Loaders that must read again what was seen, and say so."""


WITH_WORKERS: dict[str, Loaders] = {
    "shuffled": lambda: DataLoader(Recording(13), 2, shuffle=True, num_workers=2),
    "persistent": lambda: DataLoader(Recording(13), 2, shuffle=True, num_workers=2, persistent_workers=True),
    "persistent, own generator": lambda: DataLoader(
        Recording(13), 2, shuffle=True, num_workers=1, persistent_workers=True, generator=own()
    ),
    "lazy batch sampler": lambda: DataLoader(Recording(11), batch_sampler=Lazy(), num_workers=2),
    "unbatched": lambda: DataLoader(Recording(7), None, shuffle=True, num_workers=1),
    "keys": lambda: DataLoader(Keyed(), batch_sampler=KeySampler(), num_workers=1),
    "StatefulDataLoader": lambda: StatefulDataLoader(Recording(13), 2, shuffle=True, num_workers=2),
    "persistent StatefulDataLoader": lambda: StatefulDataLoader(
        Recording(13), 2, shuffle=True, num_workers=2, persistent_workers=True
    ),
    "StatefulDataLoader, stateful set": lambda: StatefulDataLoader(StatefulStream(5, is_noisy=False), 2, num_workers=2),
}

ALL_WITHOUT_WORKERS = dict(chain(POSITIONED.items(), COMBINED.items()))
