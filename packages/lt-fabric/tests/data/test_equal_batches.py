from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lt_fabric.data import with_distributed_sampler
from lt_fabric.data.equal_batches import in_equally_many_batches
from lt_fabric.data.shares import ordered_share
from lt_interfaces.errors import MisconfigurationException


def share(size: int, batch_size: int | None, *, ranks: int, rank: int) -> DataLoader[int]:
    loader = DataLoader(range(size), batch_size)  # type: ignore[arg-type]  # a range serves as a dataset
    own = with_distributed_sampler(loader, num_replicas=ranks, rank=rank, each_once=True)
    equal: DataLoader[int] = in_equally_many_batches(own, "val")
    return equal


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5))
def test_ranks_have_equally_many_batches_and_draw_each_sample_once(size: int, batch_size: int, ranks: int) -> None:
    if size < ranks:
        with pytest.raises(MisconfigurationException, match=f"{size} samples for {ranks} ranks"):
            share(size, batch_size, ranks=ranks, rank=0)
        return
    loaders = [share(size, batch_size, ranks=ranks, rank=rank) for rank in range(ranks)]
    batches = [[batch.tolist() for batch in loader] for loader in loaders]
    assert [len(own) for own in batches] == [len(loader) for loader in loaders]
    assert {len(own) for own in batches} == {ceil((size // ranks) / batch_size)}
    assert sorted(sample for own in batches for batch in own for sample in batch) == list(range(size))
    assert max(len(batch) for own in batches for batch in own) <= batch_size + 1


@given(st.integers(4, 40), st.integers(1, 6), st.integers(1, 4))
def test_the_sizes_of_batches_are_known_for_gathering(size: int, batch_size: int, ranks: int) -> None:
    for rank in range(ranks):
        loader = share(size, batch_size, ranks=ranks, rank=rank)
        known = ordered_share(loader)
        assert known is not None
        for index, batch in enumerate(loader):
            assert known.size_of(batch, index) == len(batch)  # type: ignore[arg-type]  # a tensor


def test_what_isnt_shared_out_by_sample_comes_back_as_it_is() -> None:
    whole = DataLoader(range(3), 2)  # type: ignore[arg-type]  # as above
    assert in_equally_many_batches(whole, "val") is whole
    assert in_equally_many_batches([1, 2], "val") == [1, 2]
    single = share(5, None, ranks=2, rank=0)
    assert single.batch_sampler is None
