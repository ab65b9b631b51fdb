"""Samplers that share out one order of samples over the ranks of a job."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import torch
from torch.utils.data import DistributedSampler, Sampler

WAY_OUT: Final = "pass `use_distributed_sampler=False` and set the sampler yourself"


class Sharing(Protocol):
    """What `data_share` needs of a strategy."""

    @property
    def distributed_sampler_kwargs(self) -> Mapping[str, int] | None:
        """How samplers share samples out; ``None``: not at all."""


@dataclass(frozen=True)
class DataShare:
    """Which part of the data a rank works on. Ranks that compute layers together have the same one."""

    index: int
    count: int
    """How many shares there are."""


def data_share(strategy: Sharing) -> DataShare:
    """Returns the share of the data that this rank has.

    Example:
        >>> from lt_fabric.single_device import SingleDeviceStrategy
        >>> data_share(SingleDeviceStrategy("cpu"))
        DataShare(index=0, count=1)
    """
    sharing = strategy.distributed_sampler_kwargs
    return DataShare(0, 1) if sharing is None else DataShare(sharing["rank"], sharing["num_replicas"])


class SharedOrder(DistributedSampler[int]):
    """torch's distributed sampler for training, which can share out another order for once.

    The order depends on the seed and the epoch alone. After `draw_next` one pass shares out what the sampler draws that
    the loader was made with: so several ranks take up a pass that one process has begun.

    Args:
        dataset: whose samples they are; asked for its length.
        own: the sampler that the loader was made with.
        num_replicas: how many ranks share.
        rank: which one this is.
        shuffle: whether the order is random.
        seed: for random orders, the same on every rank.

    Example:
        >>> shared = SharedOrder(range(6), [4, 2, 0, 1, 3, 5], num_replicas=2, rank=1, shuffle=False, seed=0)
        >>> list(shared)
        [1, 3, 5]
        >>> shared.draw_next()
        >>> list(shared), list(shared)
        ([2, 1, 5], [1, 3, 5])
    """

    def __init__(
        self, dataset: Any, own: Iterable[int], *, num_replicas: int, rank: int, shuffle: bool, seed: int
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=shuffle, seed=seed)
        self.own: Final = own
        self._draws_next = False

    def draw_next(self) -> None:
        """Lets the next pass share out what the loader's own sampler draws."""
        self._draws_next = True

    def __iter__(self) -> Iterator[int]:
        # Lazily, as torch's samplers do: loaders draw a seed for their workers first.
        draws, self._draws_next = self._draws_next, False
        if draws:
            yield from share_of(list(self.own), self.num_replicas, rank=self.rank, padded=True)
        else:
            yield from super().__iter__()


class ShardedSampler(Sampler[int]):
    """Gives each rank its share of the indices of another sampler: every `num_replicas`-th, from `rank` on.

    All ranks together draw each index exactly once; with `padded`, the first indices are drawn again until every rank
    has equally many, as training needs. The wrapped sampler must give the same order on every rank: torch's global
    generator on the CPU is seeded with `seed` + epoch while it draws, and left as it was.

    Raises:
        TypeError: `sampler` has no length.

    Example:
        >>> list(ShardedSampler(range(5), num_replicas=2, rank=1))
        [1, 3]
    """

    def __init__(
        self, sampler: Iterable[int], *, num_replicas: int, rank: int, seed: int = 0, padded: bool = False
    ) -> None:
        if not isinstance(sampler, Sized):
            message = f"`sampler` {type(sampler).__name__} has no `__len__`, so ranks can't share it; {WAY_OUT}."
            raise TypeError(message)
        self.sampler: Final = sampler
        self.num_replicas: Final = num_replicas
        self.rank: Final = rank
        self.seed = seed
        self.padded: Final = padded
        self.epoch = 0
        self._draws_next = False

    def draw_next(self) -> None:
        """Lets the next pass draw from the generators as they are, as one process would."""
        self._draws_next = True

    def __iter__(self) -> Iterator[int]:
        draws, self._draws_next = self._draws_next, False
        indices = list(cast(Iterable[int], self.sampler)) if draws else self._drawn_with_seed()
        yield from share_of(indices, self.num_replicas, rank=self.rank, padded=self.padded)

    def __len__(self) -> int:
        extra = self.num_replicas - 1 if self.padded else self.num_replicas - 1 - self.rank
        return (len(self.sampler) + extra) // self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the order depends on, here and on the wrapped sampler if that has an epoch."""
        self.epoch = epoch
        if callable(method := getattr(self.sampler, "set_epoch", None)):
            method(epoch)

    def _drawn_with_seed(self) -> list[int]:
        with torch.random.fork_rng(devices=()):
            # `torch.manual_seed` would seed the devices' generators too, which nobody puts back here.
            torch.default_generator.manual_seed(self.seed + self.epoch)
            return list(cast(Iterable[int], self.sampler))


def share_of(indices: list[int], num_replicas: int, *, rank: int, padded: bool) -> list[int]:
    """Returns one rank's share of an order.

    Args:
        indices: the whole order.
        num_replicas: how many ranks share it.
        rank: whose share.
        padded: whether the first indices are repeated until all ranks have equally many.

    Example:
        >>> share_of([3, 1, 2], 2, rank=1, padded=True)
        [1, 3]
    """
    missing = -len(indices) % num_replicas
    if padded and indices:
        repeats = -(-missing // len(indices))
        indices = indices + (indices * repeats)[:missing]
    return indices[rank::num_replicas]


def order_of(sampler: object) -> dict[str, int] | None:
    """Returns how a sampler shares an order that depends on the seed and the epoch alone; None for any other.

    Example:
        >>> order_of(ShardedSampler(range(5), num_replicas=2, rank=1, seed=7))
        {'num_replicas': 2, 'seed': 7}
    """
    if isinstance(sampler, DistributedSampler | ShardedSampler):
        return {"num_replicas": sampler.num_replicas, "seed": sampler.seed}
    return None
