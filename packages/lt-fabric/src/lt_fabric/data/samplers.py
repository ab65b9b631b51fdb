"""Which samples a loader draws: other samplers for an existing loader, and shares of one for ranks."""

import copy
from collections.abc import Iterable, Sequence, Sized
from itertools import zip_longest
from typing import Any, Final, cast

from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lt_fabric.data.item_seeding import SeededItems
from lt_fabric.data.lengths import has_iterable_dataset
from lt_fabric.data.loader_copy import copy_loader
from lt_fabric.data.shared_order import WAY_OUT, ShardedSampler, SharedOrder
from lt_fabric.data.whole_batches import FirstIndices, dropping_nothing, in_whole_batches
from lt_interfaces.rank_zero import rank_zero_warn

_SHUFFLING: Final = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def with_sampler(loader: DataLoader[Any], sampler: Iterable[int]) -> DataLoader[Any]:
    """Returns a copy of `loader` that draws its samples in the order of `sampler`, everything else unchanged.

    `loader` itself stays as it is. Subclasses of `DataLoader` keep their class and attributes; their `__init__` isn't
    called again. A batch sampler is copied and given the new sampler.

    Raises:
        TypeError: `loader` isn't a `DataLoader`, or its `batch_sampler` or `sampler` can't be replaced.

    Example:
        >>> loader = DataLoader(range(4), batch_size=2)
        >>> [batch.tolist() for batch in with_sampler(loader, [3, 2, 1, 0])]
        [[3, 2], [1, 0]]
    """
    _require_dataloader(loader)
    batch_sampler = loader.batch_sampler
    if batch_sampler is None:
        return _rebuilt(loader, sampler=sampler)
    if not hasattr(batch_sampler, "sampler"):
        message = (
            f"`batch_sampler` {type(batch_sampler).__name__} has no attribute `sampler`, so its sampler can't be "
            f"replaced. Keep the sampler it was made with in `self.sampler`, or {WAY_OUT}."
        )
        raise TypeError(message)
    batch_sampler = copy.copy(batch_sampler)
    batch_sampler.sampler = sampler
    return _rebuilt(loader, sampler=sampler, batch_sampler=batch_sampler)


def with_distributed_sampler(
    loader: DataLoader[Any], *, num_replicas: int, rank: int, seed: int = 0, each_once: bool = False
) -> DataLoader[Any]:
    """Returns `loader` so that each rank draws its share of the samples; shuffled if it was shuffled before.

    For training every rank gets equally many samples (the first ones are repeated to fill up). With `each_once`, for
    evaluation, each sample is drawn exactly once by all ranks together, so ranks may differ by one sample, and
    `drop_last` leaves out what it leaves out in one process.
    A loader over an `IterableDataset` or one that has a distributed sampler already is returned unchanged.

    Raises:
        TypeError: a sampler without length, or one that can't be replaced; the message names the way out.
    """
    if has_iterable_dataset(loader):
        return loader
    sampler = item_sampler(loader)
    if isinstance(sampler, DistributedSampler | ShardedSampler):
        return loader
    shuffle = _is_plain_random(sampler)
    if not each_once and (shuffle or type(sampler) is SequentialSampler):
        shared: Iterable[int] = SharedOrder(
            loader.dataset,
            cast(Iterable[int], sampler),
            num_replicas=num_replicas,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
        )
        return with_sampler(loader, shared)
    # A generator of the user's may stand elsewhere on each rank; without one the order follows the seed.
    whole = RandomSampler(cast(Sized, loader.dataset)) if shuffle else cast(Iterable[int], sampler)
    if each_once and isinstance(whole, Sized):
        whole = in_whole_batches(loader, whole)
        loader = dropping_nothing(loader) if isinstance(whole, FirstIndices) else loader
    shared = ShardedSampler(whole, num_replicas=num_replicas, rank=rank, seed=seed, padded=not each_once)
    return with_sampler(loader, shared)


def following(loaders: Sequence[Any], seeds: Sequence[int | None]) -> list[Any]:
    """Returns training loaders whose samples come in the order of an earlier job: one that ranks share, by its seed.

    In one process, too: a job of several ranks that goes on there keeps its order. A distributed sampler of the user's
    own has a seed of its own.

    Args:
        loaders: the job's loaders.
        seeds: of each loader's order; ``None`` leaves a loader as it is, and so does having fewer seeds than loaders.
    """
    return [_following(loader, seed) for loader, seed in zip_longest(loaders, seeds[: len(loaders)])]


def _following(loader: Any, seed: int | None) -> Any:
    if seed is None or not isinstance(loader, DataLoader) or has_iterable_dataset(loader):
        return loader
    sampler = item_sampler(loader)
    if isinstance(sampler, SharedOrder | ShardedSampler):
        sampler.seed = seed
    return with_distributed_sampler(loader, num_replicas=1, rank=0, seed=seed)


def item_sampler(loader: object) -> object:
    """Returns the sampler that decides the order of samples in `loader`, or None where there is none.

    That is the batch sampler's if it has one: beside a custom batch sampler, `loader.sampler` isn't used.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    return getattr(batch_sampler, "sampler", getattr(loader, "sampler", None))


def is_shuffled(loader: object) -> bool:
    """Tells whether `loader` draws its samples in random order, as far as its sampler shows.

    False for iterable datasets and for samplers that are neither torch's nor say so in an attribute `shuffle`.
    """
    sampler = item_sampler(loader)
    if isinstance(sampler, ShardedSampler):
        sampler = sampler.sampler
    return isinstance(sampler, _SHUFFLING) or getattr(sampler, "shuffle", False) is True


def without_shuffle(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Returns `loader` with a `SequentialSampler`, with a warning if that changes its order (`overfit_batches`).

    A loader that is sequential already, or has an iterable dataset, is returned unchanged.
    """
    sampler = item_sampler(loader)
    if has_iterable_dataset(loader) or not isinstance(loader, DataLoader) or isinstance(sampler, SequentialSampler):
        return loader
    rank_zero_warn(
        f"`overfit_batches` needs the same batches in every epoch: the sampler {type(sampler).__name__} is replaced "
        f"by a SequentialSampler."
    )
    return with_sampler(loader, SequentialSampler(cast(Sized, loader.dataset)))


def set_epoch(loader: object, epoch: int) -> None:
    """Tells the samplers of `loader` and its seeded items which epoch begins; others are left alone."""
    dataset = getattr(loader, "dataset", None)
    if isinstance(dataset, SeededItems):
        dataset.begin_epoch(epoch)
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    for sampler in {id(sampler): sampler for sampler in samplers}.values():
        _set_epoch(sampler, epoch)


def _set_epoch(sampler: object, epoch: int) -> None:
    method = getattr(sampler, "set_epoch", None)
    if callable(method):
        method(epoch)


def _is_plain_random(sampler: object) -> bool:
    return (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    )


def _require_dataloader(loader: object) -> None:
    if not isinstance(loader, DataLoader):
        message = f"The sampler of a {type(loader).__name__} can't be replaced, only a DataLoader's; {WAY_OUT}."
        raise TypeError(message)


def _rebuilt(loader: DataLoader[Any], **replaced: object) -> DataLoader[Any]:
    rebuilt = copy_loader(loader, **replaced)
    for argument, value in replaced.items():
        if getattr(rebuilt, argument) is not value:
            message = f"`{argument}` of {type(loader).__name__} is a property and can't be replaced; {WAY_OUT}."
            raise TypeError(message)
    return rebuilt
