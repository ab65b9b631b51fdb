"""Equally many batches on every rank, though ranks differ by a sample: where all compute each batch together."""

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any, Final

from torch.utils.data import BatchSampler, DataLoader

from lt_fabric.data.loader_copy import copy_loader
from lt_fabric.data.samplers import item_sampler
from lt_fabric.data.shared_order import ShardedSampler
from lt_interfaces.errors import MisconfigurationException


class JoiningBatchSampler(BatchSampler):
    """torch's batch sampler, whose last batch also takes a single sample that would be left for one more.

    Example:
        >>> list(JoiningBatchSampler(range(5), 2))
        [[0, 1], [2, 3, 4]]
        >>> list(JoiningBatchSampler(range(3), 1))
        [[0], [1, 2]]
    """

    takes_rest: Final = True
    """Whether the last batch has what's left, for `ordered_share`."""

    def __init__(self, sampler: Iterable[int], batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(super().__iter__())
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]
        yield from batches

    def __len__(self) -> int:
        num_samples = len(self.sampler)  # type: ignore[arg-type]  # as in torch's
        return max(1, ceil((num_samples - 1) / self.batch_size)) if num_samples else 0


def in_equally_many_batches(loader: Any, stage: str) -> Any:
    """Returns a loader of a rank's share so that all ranks have equally many batches; sizes may differ by one sample.

    Where a rank's share is one sample more than fits into as many batches as others have, its last batch takes it.
    Loaders that aren't known to share out samples this way come back as they are.

    Args:
        loader: prepared for evaluation.
        stage: for the message.

    Raises:
        MisconfigurationException: there are fewer samples than ranks, or samples that no batch can take.
    """
    sampler = item_sampler(loader)
    if not isinstance(loader, DataLoader) or not isinstance(sampler, ShardedSampler) or sampler.padded:
        return loader
    total, ranks = len(sampler.sampler), sampler.num_replicas
    least, most = total // ranks, ceil(total / ranks)
    if least == 0:
        message = (
            f"The {stage} data has {total} samples for {ranks} ranks, which compute each batch together: every rank"
            " needs one. Use more samples or fewer processes."
        )
        raise MisconfigurationException(message)
    size = loader.batch_size
    if size is None or type(loader.batch_sampler) is not BatchSampler:
        return loader  # whether ranks have equally many batches is seen when they're counted
    has_one_more = len(sampler) == most and ceil(most / size) > ceil(least / size)
    return copy_loader(loader, batch_sampler=JoiningBatchSampler(sampler, size)) if has_one_more else loader
