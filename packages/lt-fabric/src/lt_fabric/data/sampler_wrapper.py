"""Shares of any sampler for ranks."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

from torch.utils.data import Dataset, DistributedSampler


class DistributedSamplerWrapper(DistributedSampler[Any]):
    """Shares out what a sampler draws over the ranks, as `torch.utils.data.DistributedSampler` does with a dataset.

    The sampler must draw the same on all ranks: give it a generator with the same seed, or an epoch (`set_epoch`
    passes it on). lt does this by itself for loaders with ordinary samplers.

    Args:
        sampler: what's shared out; it has a length.
        args: of `DistributedSampler`: number of ranks, and which one this is.
        kwargs: of `DistributedSampler`; ``shuffle`` (True by default) mixes what the sampler has drawn.

    Raises:
        TypeError: the sampler has no length.

    >>> list(DistributedSamplerWrapper([5, 3, 1, 2, 8], num_replicas=2, rank=1, shuffle=False))
    [3, 2, 5]
    """

    def __init__(self, sampler: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        self._drawn = _Drawn(sampler)
        super().__init__(self._drawn, *args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        self._drawn.draw()
        return (self._drawn[index] for index in super().__iter__())

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, for the sampler that's shared out, too."""
        super().set_epoch(epoch)
        pass_on = getattr(self._drawn.sampler, "set_epoch", None)
        if callable(pass_on):
            pass_on(epoch)


class _Drawn(Dataset[Any]):
    """What a sampler has drawn, by position."""

    def __init__(self, sampler: Iterable[Any]) -> None:
        if not isinstance(sampler, Sized):
            message = f"`sampler`, a {type(sampler).__name__}, has no length, so it can't be shared out."
            raise TypeError(message)
        self.sampler = sampler
        self._items: list[Any] = []

    def draw(self) -> None:
        """Draw anew."""
        self._items = list(cast("Iterable[Any]", self.sampler))

    def __len__(self) -> int:
        return len(cast(Sized, self.sampler))

    def __getitem__(self, index: int) -> Any:
        return self._items[index]
