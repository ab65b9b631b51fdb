import copy
import pickle
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from drawing_datasets import BatchedNoise, Noise, as_given, with_noise
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from lt_fabric.data import SeededItems, has_seeded_items, item_seed, set_epoch, with_seeded_items
from lt_fabric.data.loader_copy import copy_loader
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rng import isolate_rng


def seeded(dataset: Dataset[Any] | None = None, *, seed: int = 7, **arguments: Any) -> Any:
    arguments = {"batch_size": 3, "collate_fn": as_given, **arguments}
    return with_seeded_items(DataLoader(dataset or Noise(), **arguments), seed)


def items(loader: Any, epoch: int = 0) -> list[Any]:
    """Return the items of an epoch in the order of their indices."""
    set_epoch(loader, epoch)
    return sorted(item for batch in loader for item in batch)


EXPECTED = items(seeded())


# --- what the items depend on ---


def test_every_item_draws_numbers_of_its_own_from_every_generator() -> None:
    drawn = [number for _, *numbers in items(seeded(), epoch=0) + items(seeded(), epoch=1) for number in numbers]
    assert len(set(drawn)) == len(drawn) == 2 * 8 * 3


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("num_workers", [1, 3])
def test_items_are_the_same_for_any_number_of_workers(num_workers: int) -> None:
    assert items(seeded(num_workers=num_workers)) == EXPECTED


def test_items_are_the_same_in_spawned_workers() -> None:
    loader = seeded(num_workers=1, multiprocessing_context="spawn", persistent_workers=True)
    assert [items(loader, epoch=epoch) for epoch in (0, 1)] == [EXPECTED, items(seeded(), epoch=1)]


@given(order=st.permutations(range(8)), batch_size=st.none() | st.integers(1, 8))
def test_items_depend_neither_on_their_order_nor_on_the_batch_size(order: list[int], batch_size: int | None) -> None:
    loader = seeded(sampler=order, batch_size=batch_size)
    assert items([list(loader)] if batch_size is None else loader) == EXPECTED


def after(loader: Any, skipped: int) -> list[Any]:
    """Return the batches that a run resumed after the first ones reads."""
    return list(copy_loader(loader, batch_sampler=list(loader.batch_sampler)[skipped:]))


def test_items_are_the_same_where_a_resumed_run_goes_on() -> None:
    loader = seeded(num_workers=1)
    set_epoch(loader, 4)
    assert after(loader, 2) == list(loader)[2:]


def test_items_repeat_with_the_seed_alone() -> None:
    assert items(seeded(seed=7)) == EXPECTED
    assert not set(items(seeded(seed=8))) & set(EXPECTED)


@pytest.mark.parametrize("index", [np.int64(3), torch.tensor(3)])
def test_an_index_may_come_in_any_type(index: Any) -> None:
    assert SeededItems(Noise(), 7)[index][1:] == EXPECTED[3][1:]


def test_an_index_may_be_no_number() -> None:
    noise = SeededItems(Noise(), 7)
    assert noise["a", 1] == noise["a", 1]
    assert noise["a", 1] != noise["a", 2]


# --- epochs ---


@pytest.mark.parametrize("arguments", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}])
def test_items_differ_between_epochs_and_repeat_with_them(arguments: dict[str, Any]) -> None:
    loader = seeded(**arguments)
    first, second, again = (items(loader, epoch=epoch) for epoch in (0, 1, 0))
    assert first == again == EXPECTED
    assert not set(first) & set(second)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_copy_has_epochs_of_its_own_that_reach_its_workers(duplicate: Any) -> None:
    loader = seeded(num_workers=1, persistent_workers=True)
    other = duplicate(loader)
    assert items(other, epoch=0) == EXPECTED
    assert items(other, epoch=1) == items(seeded(), epoch=1)
    assert sorted(item for batch in loader for item in batch) == EXPECTED


class CopiesItself(Noise):
    def __deepcopy__(self, memo: dict[int, Any]) -> "CopiesItself":
        return CopiesItself(self.length)


def test_a_copy_of_a_dataset_that_copies_itself_is_still_seeded() -> None:
    assert isinstance(copy.deepcopy(SeededItems(CopiesItself(), 7)), SeededItems)


# --- what is left alone ---


class Draws(Dataset[int]):
    """Draws what a test says."""

    def __init__(self, draws: list[str]) -> None:
        self.draws = draws

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        draw_from = {
            "python": lambda: random.gauss(0, 1),
            "numpy": lambda: np.random.standard_normal(),
            "torch": lambda: torch.randn(3),
        }
        for draw in self.draws:
            if draw == "error":
                raise ArithmeticError
            draw_from[draw]()
        return index


def next_numbers() -> list[Any]:
    # Gaussian ones first: python and numpy keep every second of them.
    return [
        random.gauss(0, 1),
        random.random(),
        np.random.standard_normal(),
        np.random.random(),
        torch.randn(3).tolist(),
    ]


@given(draws=st.lists(st.sampled_from(["python", "numpy", "torch", "error"]), max_size=5), batched=st.booleans())
def test_generators_of_the_main_process_stay_as_they_are(draws: list[str], batched: bool) -> None:
    next_numbers()
    with isolate_rng():
        expected = next_numbers()
    dataset = SeededItems(Draws(draws), 7)
    with suppress(ArithmeticError):
        _ = dataset.__getitems__([1, 0]) if batched else dataset[1]
    assert next_numbers() == expected


def test_shuffled_order_is_the_one_without_seeding() -> None:
    def order(loader: Any) -> list[int]:
        torch.manual_seed(3)
        return [index for batch in loader for index, *_ in batch]

    plain = DataLoader(Noise(), batch_size=3, shuffle=True, collate_fn=as_given)
    assert order(with_seeded_items(plain, 7)) == order(DataLoader(range(8), shuffle=True, collate_fn=lambda i: [i * 2]))


def test_the_loader_given_is_not_changed() -> None:
    loader = DataLoader(Noise(), batch_size=3)
    iter(copied := with_seeded_items(loader, 7))
    assert not has_seeded_items(loader)
    assert isinstance(loader.dataset, Noise)
    assert copied.sampler is loader.sampler


# --- the dataset as its users know it ---


def test_attributes_are_the_datasets_own() -> None:
    dataset = Noise()
    wrapped = SeededItems(dataset, 7)
    wrapped.length = 5
    assert (dataset.length, wrapped.length, len(wrapped)) == (5, 5, 5)
    assert wrapped.unseeded is dataset
    with pytest.raises(AttributeError, match="'Noise' object has no attribute 'classes'"):
        _ = wrapped.classes


def test_seeding_again_replaces_the_seed() -> None:
    loader = with_seeded_items(seeded(seed=8), 7)
    assert isinstance(loader.dataset.unseeded, Noise)
    assert items(loader) == EXPECTED


def test_a_dataset_that_reads_batches_is_asked_for_batches() -> None:
    def batches(**arguments: Any) -> list[Any]:
        return list(seeded(BatchedNoise(), **arguments))

    first, second, _ = batches()
    assert len({item[1:] for item in first}) == 1
    assert first[0][1:] != second[0][1:]
    assert batches() == batches(num_workers=2)
    assert batches(batch_size=2)[0][0] != first[0]


def test_items_of_a_subset_are_seeded_one_by_one() -> None:
    part = Subset(Subset(Noise(), range(8)), range(8))
    assert items(seeded(part)) == items(seeded(part, batch_size=2)) == EXPECTED
    batched = Subset(BatchedNoise(), range(8))
    assert len({item[1:] for item in next(iter(seeded(batched)))}) == 1


def test_a_collate_function_that_draws_repeats_with_the_batch_in_workers() -> None:
    def batches(num_workers: int, skipped: int = 0) -> list[Any]:
        return after(seeded(collate_fn=with_noise, num_workers=num_workers), skipped)

    assert batches(1) == batches(2)
    assert batches(2, skipped=1) == batches(1)[1:]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_stateful_loaders_items_are_seeded() -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    make = stateful.StatefulDataLoader
    loader = with_seeded_items(make(Noise(), batch_size=3, collate_fn=as_given, num_workers=1), 7)
    iterator = iter(loader)
    first, state = next(iterator), loader.state_dict()
    resumed = with_seeded_items(make(Noise(), batch_size=3, collate_fn=as_given, num_workers=1), 7)
    resumed.load_state_dict(state)
    assert sorted([*first, *(item for batch in resumed for item in batch)]) == EXPECTED


# --- what can't be seeded ---


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class Fixed(DataLoader[Any]):
    dataset = property(lambda self: range(3), lambda self, value: None)  # type: ignore[assignment]


@pytest.mark.parametrize("loader", [DataLoader(Stream()), [1, 2], Fixed(Noise())])
def test_loader_without_a_map_style_dataset_is_left_alone_with_a_warning(loader: Any) -> None:
    with pytest.warns(UserWarning, match="`seed_items` has no effect on a"):
        assert with_seeded_items(loader, 7) is loader


# --- the seed ---


def test_seed_may_be_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert (item_seed(True), item_seed(3), item_seed(1), item_seed(0)) == (5, 3, 1, 0)


def test_the_seed_of_the_run_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    with pytest.raises(MisconfigurationException, match="`seed_everything`"):
        item_seed(True)
