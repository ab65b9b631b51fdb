"""Loaders with `drop_last`: what they leave out when several ranks share them, and how to leave out nothing."""

import copy
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Any, Final, cast

from torch.utils.data import BatchSampler, DataLoader, Sampler

from lt_fabric.data.loader_copy import copy_loader


class FirstIndices(Sampler[int]):
    """Gives the first `count` indices of another sampler.

    Example:
        >>> list(FirstIndices([3, 1, 2], 2))
        [3, 1]
    """

    def __init__(self, sampler: Iterable[int], count: int) -> None:
        self.sampler: Final = sampler
        self.count: Final = count

    def __iter__(self) -> Iterator[int]:
        return islice(self.sampler, self.count)

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the sampler, if that has one."""
        if callable(method := getattr(self.sampler, "set_epoch", None)):
            method(epoch)


def dropping_nothing(loader: Any) -> Any:
    """Returns `loader` so that it gives its last samples, too, if `drop_last` would have left them out.

    A batch sampler of the user's own is copied and gets `drop_last = False`, if it has that attribute.

    Example:
        >>> [len(batch) for batch in dropping_nothing(DataLoader(range(5), batch_size=2, drop_last=True))]
        [2, 2, 1]
    """
    drops = getattr(loader, "drop_last", False) or getattr(getattr(loader, "batch_sampler", None), "drop_last", False)
    if not drops or not isinstance(loader, DataLoader):
        return loader
    batch_sampler: Any = copy.copy(loader.batch_sampler)
    batch_sampler.drop_last = False
    return copy_loader(loader, batch_sampler=batch_sampler, drop_last=False)


def in_whole_batches(loader: DataLoader[Any], sampler: Iterable[int]) -> Iterable[int]:
    """Returns the indices of `sampler` that one process would draw: with `drop_last` those that fill batches.

    Only torch's own batch sampler says how it drops; beside any other, `sampler` is returned as it is.
    """
    batch_sampler = loader.batch_sampler
    if type(batch_sampler) is not BatchSampler or not batch_sampler.drop_last:
        return sampler
    length = len(cast(Sized, sampler))
    return FirstIndices(sampler, length - length % batch_sampler.batch_size)
