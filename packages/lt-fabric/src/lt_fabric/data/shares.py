"""Which samples a prepared loader gives, where they were shared out over ranks."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

from torch.utils.data import BatchSampler, DataLoader

from lt_fabric.data.batch_size import extract_batch_size
from lt_fabric.data.iterable_sharing import keeps_order
from lt_fabric.data.samplers import item_sampler
from lt_fabric.data.shared_order import ShardedSampler
from lt_interfaces.errors import MisconfigurationException


@dataclass(frozen=True)
class OrderedShare:
    """A rank's share of an order: the samples at places `rank`, `rank` + `num_replicas`, ..., in batches."""

    batch_size: int | None
    """None: each of the loader's "batches" is one sample."""
    num_samples: int | None
    """None: it takes reading them to know."""
    num_batches: int | None = None
    """None: as many as it takes; else the last one has what's left."""

    def size_of(self, batch: object, batch_idx: int) -> int:
        """Returns how many samples a batch has; what's in it is looked at only where nothing else tells.

        Raises:
            MisconfigurationException: its size can't be seen.
        """
        if self.batch_size is None:
            return 1
        if self.num_samples is not None:
            left = self.num_samples - batch_idx * self.batch_size
            is_last = self.num_batches is not None and batch_idx == self.num_batches - 1
            return left if is_last else min(self.batch_size, left)
        try:
            return extract_batch_size(batch)
        except MisconfigurationException:
            if isinstance(batch, Sized):
                return len(batch)
            raise


def ordered_share(loader: Any) -> OrderedShare | None:
    """Returns what's known of the share that `loader` gives; None where its order isn't that of its sample indices.

    So it is where the user shares out, draws batches or splits over workers by own code.
    """
    if not isinstance(loader, DataLoader) or not loader.in_order:
        return None
    if keeps_order(loader.dataset):
        return OrderedShare(loader.batch_size, None)
    sampler = item_sampler(loader)
    if not isinstance(sampler, ShardedSampler) or sampler.padded:
        return None
    if getattr(loader.batch_sampler, "takes_rest", False):
        return OrderedShare(loader.batch_size, len(sampler), len(loader))
    is_plain = loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler
    return OrderedShare(getattr(loader.batch_sampler, "batch_size", None), len(sampler)) if is_plain else None
