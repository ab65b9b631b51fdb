from collections.abc import Iterator
from typing import Any

import pytest
import torch
from sharable_datasets import Count, SplitCount
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

from lt_fabric.data import with_distributed_sampler, with_shared_iterable
from lt_fabric.data.shares import OrderedShare, ordered_share
from lt_interfaces.errors import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore:The samples of `")


def share_of(dataset: Any, *, each_once: bool = True, **options: Any) -> OrderedShare | None:
    """Return what's known of the share of the second of two ranks."""
    loader: DataLoader[Any] = DataLoader(dataset, **options)
    sharing: dict[str, Any] = {"num_replicas": 2, "rank": 1, "each_once": each_once}
    return ordered_share(with_shared_iterable(with_distributed_sampler(loader, **sharing), **sharing))


def test_the_share_of_a_map_style_dataset_is_known() -> None:
    assert share_of(range(5), batch_size=2) == OrderedShare(2, 2)
    assert share_of(range(5), batch_size=None) == OrderedShare(None, 2)


def test_the_length_of_a_stream_is_unknown() -> None:
    for num_workers in (0, 2):
        assert share_of(Count(5), batch_size=2, num_workers=num_workers) == OrderedShare(2, None)


class Jumping(BatchSampler):
    def __iter__(self) -> Iterator[list[int]]:
        return iter(list(super().__iter__())[::-1])


@pytest.mark.parametrize(
    "options",
    [
        {"dataset": SplitCount(5), "num_workers": 2},
        {"dataset": range(5), "batch_sampler": Jumping(SequentialSampler(range(5)), 2, drop_last=False)},
        {"dataset": range(5), "sampler": DistributedSampler(range(5), 2, 1)},  # type: ignore[arg-type]
        {"dataset": range(5), "each_once": False},
        {"dataset": range(5), "num_workers": 2, "in_order": False},
    ],
)
def test_an_order_of_somebody_elses_is_unknown(options: dict[str, Any]) -> None:
    assert share_of(**options) is None


def test_loaders_that_were_not_shared_have_no_share() -> None:
    assert [ordered_share(loader) for loader in (DataLoader(Count(3)), DataLoader(range(3)), [1, 2])] == [None] * 3  # type: ignore[arg-type]


def test_the_size_of_a_batch_is_known_without_a_look_at_it() -> None:
    share = OrderedShare(2, 5)
    assert [share.size_of("whatever", batch_idx) for batch_idx in range(3)] == [2, 2, 1]
    assert OrderedShare(None, 5).size_of("whatever", 3) == 1


def test_the_size_of_a_streams_batch_is_seen_in_it() -> None:
    share = OrderedShare(4, None)
    assert [share.size_of(batch, 0) for batch in (torch.zeros(3, 2), {"x": torch.zeros(2)}, ["a", "b", "c"])] == [
        3,
        2,
        3,
    ]
    with pytest.raises(MisconfigurationException):
        share.size_of(7.5, 0)
