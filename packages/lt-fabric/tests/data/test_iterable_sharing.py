import copy
import pickle
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sharable_datasets import (
    Around,
    Count,
    GoingOn,
    Range,
    SizedCount,
    SplitCount,
    SplitInProperty,
    StartingAnew,
    seed_in_worker,
    split_in_worker,
)
from torch.utils.data import ChainDataset, DataLoader, IterableDataset
from torch.utils.data.datapipes.iter import IterableWrapper
from torchdata.stateful_dataloader import StatefulDataLoader

from lt_fabric.data import DataPosition, SharedIterable, sized_len, with_shared_iterable
from lt_fabric.data.combined_loader import CombinedLoader
from lt_fabric.data.iterable_sharing import Share, _assumed
from lt_fabric.data.loader_position import LoaderPosition

pytestmark = [
    pytest.mark.filterwarnings("ignore:The samples of `:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    pytest.mark.filterwarnings("ignore:Going on after batch"),
]


def loader_of(dataset: IterableDataset[Any], **options: Any) -> DataLoader[Any]:
    return DataLoader(dataset, **{"batch_size": 2, **options})


def shares(loader: DataLoader[Any], world: int, *, each_once: bool = False) -> list[list[Any]]:
    """Return the batches of each rank, as lists of numbers."""
    loaders = [
        with_shared_iterable(loader, num_replicas=world, rank=rank, each_once=each_once) for rank in range(world)
    ]
    return [[torch.atleast_1d(torch.as_tensor(batch)).tolist() for batch in loader] for loader in loaders]


def samples(batches: list[list[list[int]]]) -> list[int]:
    return sorted(sample for rank in batches for batch in rank for sample in batch)


# --- which sample goes where ---


@given(size=st.integers(0, 20), world=st.integers(1, 4), batch_size=st.integers(1, 4))
def test_sample_i_goes_to_rank_i_modulo_the_number_of_ranks(size: int, world: int, batch_size: int) -> None:
    for rank, batches in enumerate(shares(loader_of(Count(size), batch_size=batch_size), world)):
        assert [sample for batch in batches for sample in batch] == list(range(rank, size, world))


@pytest.mark.parametrize("size", [0, 3, 11, 12])
@pytest.mark.parametrize("batch_size", [2, None])
def test_a_loader_with_workers_gives_the_batches_of_one_without(size: int, batch_size: int | None) -> None:
    expected = shares(loader_of(Count(size), batch_size=batch_size), 2)
    assert shares(loader_of(Count(size), batch_size=batch_size, num_workers=2), 2) == expected


@pytest.mark.parametrize("dataset", [SplitCount(11), SplitInProperty(11), Around(SplitCount(11))])
def test_a_dataset_that_splits_over_workers_gives_each_sample_once(dataset: IterableDataset[int]) -> None:
    assert samples(shares(loader_of(dataset, num_workers=2), 2)) == list(range(11))


def test_no_rank_gets_the_odd_sample_of_every_worker() -> None:
    sizes = [sum(map(len, batches)) for batches in shares(loader_of(SplitCount(6), num_workers=2), 2)]
    assert sizes == [3, 3]


def test_a_worker_init_fn_that_splits_is_seen() -> None:
    loader = loader_of(Range(0, 11), num_workers=2, worker_init_fn=split_in_worker)
    assert samples(shares(loader, 2)) == list(range(11))


def test_a_worker_init_fn_that_only_seeds_is_told_apart() -> None:
    loader = loader_of(Count(11), num_workers=2, worker_init_fn=seed_in_worker)
    assert samples(shares(loader, 2)) == list(range(11))


def test_parts_that_split_over_workers_are_seen() -> None:
    chained = ChainDataset([SplitCount(4), SplitCount(3)])
    assert samples(shares(loader_of(chained, num_workers=2), 2)) == [0, 0, 1, 1, 2, 2, 3]


@given(size=st.integers(0, 20), world=st.integers(2, 4), batch_size=st.integers(1, 4))
def test_evaluation_leaves_out_what_one_process_leaves_out(size: int, world: int, batch_size: int) -> None:
    loader = loader_of(SizedCount(size), batch_size=batch_size, drop_last=True)
    alone = [batch.tolist() for batch in loader]
    assert samples(shares(loader, world, each_once=True)) == samples([alone])


def test_training_drops_last_samples_of_each_rank() -> None:
    assert shares(loader_of(Count(7), drop_last=True), 2) == [[[0, 2], [4, 6]], [[1, 3]]]


# --- length ---


@given(
    size=st.integers(0, 20),
    world=st.integers(2, 4),
    batch_size=st.integers(1, 4),
    drop_last=st.booleans(),
)
def test_the_length_is_that_of_the_share(size: int, world: int, batch_size: int, drop_last: bool) -> None:
    loader = loader_of(SizedCount(size), batch_size=batch_size, drop_last=drop_last)
    for rank in range(world):
        shared = with_shared_iterable(loader, num_replicas=world, rank=rank, each_once=True)
        assert len(shared) == len(list(shared))


def test_the_length_holds_with_workers() -> None:
    shared = with_shared_iterable(loader_of(SizedCount(9), num_workers=2), num_replicas=2, rank=0)
    assert len(shared) == len(list(shared)) == 3


def test_a_length_that_nobody_knows_is_none() -> None:
    for dataset in (Count(9), SplitCount(9)):
        shared = with_shared_iterable(loader_of(dataset, num_workers=2), num_replicas=2, rank=0)
        assert sized_len(shared) is None


# --- what's left alone ---


def test_one_process_keeps_its_loader() -> None:
    loader = loader_of(Count(3))
    assert with_shared_iterable(loader, num_replicas=1, rank=0) is loader


def test_a_dataset_that_is_sharded_keeps_its_loader() -> None:
    dataset = Count(3)
    dataset.is_sharded = True  # type: ignore[attr-defined]  # as a user says it
    loader = loader_of(dataset)
    assert with_shared_iterable(loader, num_replicas=2, rank=1) is loader


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_loaders_over_map_style_datasets_and_datapipes_are_left_alone() -> None:
    for loader in (DataLoader(range(3)), DataLoader(IterableWrapper(range(3)))):  # type: ignore[arg-type]
        assert with_shared_iterable(loader, num_replicas=2, rank=1) is loader


def test_a_loader_is_shared_once() -> None:
    shared = with_shared_iterable(loader_of(Count(3)), num_replicas=2, rank=1)
    assert with_shared_iterable(shared, num_replicas=2, rank=1) is shared


def test_the_users_loader_stays_as_it_was() -> None:
    loader = loader_of(Count(5), drop_last=True)
    with_shared_iterable(loader, num_replicas=2, rank=1, each_once=True)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
    assert isinstance(loader.dataset, Count)


# --- what's said ---


class _Quiet(Count):
    is_sharded = False


def told(dataset: IterableDataset[Any], **options: Any) -> list[str]:
    _assumed.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with_shared_iterable(loader_of(dataset, **options), num_replicas=2, rank=0)
    return [str(warning.message) for warning in caught]


def test_what_is_assumed_is_said_once_with_the_ways_out() -> None:
    (message,) = told(Count(3))
    for word in ("`Count`", "`is_sharded = True`", "`use_distributed_sampler=False`"):
        assert word in message
    assert "worker" not in message


def test_what_is_assumed_of_workers_is_said() -> None:
    (same,), (own,) = told(Count(3), num_workers=2), told(SplitCount(3), num_workers=2)
    assert "doesn't refer to `get_worker_info`" in same
    assert "as its code refers to `get_worker_info`" in own


def test_who_says_that_it_is_not_sharded_is_told_nothing() -> None:
    assert told(_Quiet(3)) == []


# --- the dataset behind ---


def test_attributes_are_read_and_set_on_the_dataset() -> None:
    dataset = Count(3)
    shared: Any = SharedIterable(dataset, Share(2, 0))
    shared.set_epoch(4)
    shared.size = 5
    assert (dataset.epoch, dataset.size, shared.epoch) == (4, 5, 4)
    with pytest.raises(AttributeError, match="nothing"):
        _ = shared.nothing


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_it_can_be_copied_and_pickled(duplicate: Any) -> None:
    for dataset in (Count(5), GoingOn(5)):
        loader = with_shared_iterable(loader_of(dataset), num_replicas=2, rank=1)
        assert list(duplicate(loader.dataset)) == [1, 3]


# --- going on ---


@pytest.mark.parametrize("kind", [GoingOn, StartingAnew])
@pytest.mark.parametrize("size", [11, 12])
def test_a_resumed_share_goes_on_with_the_same_samples(kind: type[GoingOn], size: int) -> None:
    for rank in range(2):
        for taken in range(3):
            expected, saved = _after(kind(size), rank, taken)
            resumed = with_shared_iterable(loader_of(kind(size)), num_replicas=2, rank=rank)
            position = DataPosition(CombinedLoader(resumed))
            position.load_state_dict(saved)
            assert [batch.tolist() for batch, _, _ in position.steps(1)] == expected
            position.end_epoch(is_exhausted=True)
            assert [batch.tolist() for batch, _, _ in position.steps(1)] == shares(loader_of(kind(size)), 2)[rank]


def _after(dataset: GoingOn, rank: int, taken: int) -> tuple[list[Any], dict[str, Any]]:
    """Return what's left after so many batches, and the position there."""
    loader = with_shared_iterable(loader_of(dataset), num_replicas=2, rank=rank)
    position = DataPosition(CombinedLoader(loader))
    steps = position.steps(1)
    list(islice(steps, taken + 1))  # one ahead, as loops read them
    saved = position.state_dict(taken)
    again = list(shares(loader_of(type(dataset)(dataset.size)), 2)[rank])
    return again[taken:], saved


@pytest.mark.parametrize("kind", [GoingOn, StartingAnew])
def test_ranks_stay_apart_after_a_pass_that_was_left(kind: type[GoingOn]) -> None:
    datasets = [kind(12) for _ in range(2)]
    found: list[int] = []
    for rank, dataset in enumerate(datasets):
        loader = with_shared_iterable(loader_of(dataset), num_replicas=2, rank=rank)
        next(iter(loader))
        found += [sample for batch in loader for sample in batch.tolist()]
    assert len(found) == len(set(found))


def test_the_position_is_the_same_on_every_rank() -> None:
    states = []
    for rank in range(3):
        loader = with_shared_iterable(loader_of(GoingOn(20)), num_replicas=3, rank=rank)
        next(iter(loader))
        states.append(LoaderPosition(loader).state_dict()["source"])
    assert states == [{"dataset": {"at": 6}, "is_at_end": False}] * 3


def test_only_a_dataset_with_a_state_has_one() -> None:
    loaders = [loader_of(Count(3)), loader_of(GoingOn(3))]
    shared = [with_shared_iterable(loader, num_replicas=2, rank=0) for loader in loaders]
    assert [hasattr(loader.dataset, "state_dict") for loader in shared] == [False, True]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("size", [11, 12, 13])
def test_torchdatas_loader_goes_on_within_and_at_the_end(num_workers: int, size: int) -> None:
    def loader(rank: int) -> Any:
        plain: Any = StatefulDataLoader(StartingAnew(size), batch_size=2, num_workers=num_workers)
        return with_shared_iterable(plain, num_replicas=2, rank=rank)

    for rank in range(2):
        whole = [batch.tolist() for batch in loader(rank)]
        for taken in range(1, len(whole)):
            stopped, resumed = loader(rank), loader(rank)
            given: Iterator[Any] = iter(stopped)
            list(islice(given, taken))
            resumed.load_state_dict(stopped.state_dict())
            assert [batch.tolist() for batch in resumed] == whole[taken:]
