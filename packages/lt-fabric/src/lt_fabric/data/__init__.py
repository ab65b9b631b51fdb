"""Loaders, samplers, batch sizes and the position in the data."""

from lt_fabric.data.batch_size import extract_batch_size
from lt_fabric.data.combined_loader import CombinedLoader
from lt_fabric.data.fetching import batches
from lt_fabric.data.item_seeding import SeededItems, has_seeded_items, item_seed, with_seeded_items
from lt_fabric.data.iterable_sharing import SharedIterable, with_shared_iterable
from lt_fabric.data.lengths import has_iterable_dataset, num_batches, sized_len
from lt_fabric.data.loader_checks import (
    require_iterable,
    warn_if_few_workers,
    warn_if_length_is_guessed,
    warn_if_shuffled,
)
from lt_fabric.data.loader_shape import order_seed
from lt_fabric.data.position import DataPosition
from lt_fabric.data.resumable import ResumableLoader
from lt_fabric.data.samplers import (
    following,
    is_shuffled,
    set_epoch,
    with_distributed_sampler,
    with_sampler,
    without_shuffle,
)
from lt_fabric.data.shared_order import ShardedSampler
from lt_fabric.data.whole_batches import dropping_nothing
from lt_fabric.data.workers import seed_workers, suggested_num_workers

__all__ = [
    "CombinedLoader",
    "DataPosition",
    "ResumableLoader",
    "SeededItems",
    "ShardedSampler",
    "SharedIterable",
    "batches",
    "dropping_nothing",
    "extract_batch_size",
    "following",
    "has_iterable_dataset",
    "has_seeded_items",
    "is_shuffled",
    "item_seed",
    "num_batches",
    "order_seed",
    "require_iterable",
    "seed_workers",
    "set_epoch",
    "sized_len",
    "suggested_num_workers",
    "warn_if_few_workers",
    "warn_if_length_is_guessed",
    "warn_if_shuffled",
    "with_distributed_sampler",
    "with_sampler",
    "with_seeded_items",
    "with_shared_iterable",
    "without_shuffle",
]
