from typing import Any

import pytest
from sharable_datasets import Count
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from lt_fabric.data import dropping_nothing
from lt_fabric.data.whole_batches import FirstIndices, in_whole_batches


def loader_of(size: int, **options: Any) -> DataLoader[Any]:
    return DataLoader(range(size), **options)  # type: ignore[arg-type]  # a range is a dataset


def test_a_loader_that_drops_nothing_gives_its_last_samples() -> None:
    for dataset in (range(5), Count(5)):
        loader: DataLoader[Any] = DataLoader(dataset, batch_size=2, drop_last=True)  # type: ignore[arg-type]
        assert [batch.tolist() for batch in dropping_nothing(loader)] == [[0, 1], [2, 3], [4]]
        assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]


def test_a_batch_sampler_of_ones_own_drops_nothing_either() -> None:
    own = BatchSampler(SequentialSampler(range(5)), batch_size=2, drop_last=True)
    assert len(dropping_nothing(loader_of(5, batch_sampler=own))) == 3
    assert len(own) == 2


@pytest.mark.parametrize("loader", [loader_of(5, batch_size=2), loader_of(5, batch_size=None), [1, 2], None])
def test_what_drops_nothing_is_left_as_it_is(loader: Any) -> None:
    assert dropping_nothing(loader) is loader


def test_indices_that_fill_no_batch_are_left_out() -> None:
    assert list(in_whole_batches(loader_of(5, batch_size=2, drop_last=True), range(5))) == [0, 1, 2, 3]
    assert len(FirstIndices(range(5), 3)) == 3


def test_nothing_is_left_out_where_batches_need_not_be_full() -> None:
    for loader in (loader_of(5, batch_size=2), loader_of(5, batch_size=None)):
        assert in_whole_batches(loader, range(5)) == range(5)


def test_the_epoch_reaches_the_sampler_behind() -> None:
    behind = Count(3)
    FirstIndices(behind, 2).set_epoch(4)
    assert behind.epoch == 4
