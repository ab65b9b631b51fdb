import os
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from lt_fabric.data import (
    require_iterable,
    warn_if_few_workers,
    warn_if_length_is_guessed,
    warn_if_shuffled,
    with_shared_iterable,
)
from lt_interfaces.errors import PossibleUserWarning


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class SizedStream(Stream):
    def __len__(self) -> int:
        return 3


def loader(**arguments: object) -> DataLoader[int]:
    return DataLoader(range(4), **arguments)  # type: ignore[arg-type]


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize("value", [None, 3, object(), torch.nn.Linear(1, 1)], ids=lambda value: type(value).__name__)
def test_what_cannot_be_iterated_is_refused_naming_its_source(value: object) -> None:
    with pytest.raises(TypeError, match=r"^`DigitsModel.val_dataloader\(\)` gave .*DataLoader"):
        require_iterable(value, "`DigitsModel.val_dataloader()`")


def test_iterables_are_accepted_without_being_started() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            raise AssertionError

    class Loader:
        def __iter__(self) -> Iterator[int]:
            raise AssertionError

    for value in (Old(), Loader(), loader(), [1]):
        require_iterable(value, "x")


def test_shuffled_evaluation_is_warned_about() -> None:
    with pytest.warns(PossibleUserWarning, match="`val_dataloader` is shuffled"):
        warn_if_shuffled(loader(shuffle=True), "val")


def test_sequential_evaluation_is_not_warned_about() -> None:
    warn_if_shuffled(loader(), "val")
    warn_if_shuffled(DataLoader(Stream()), "val")


@pytest.mark.usefixtures("eight_cpus")
def test_few_workers_are_warned_about_where_cpus_are_idle() -> None:
    with pytest.warns(PossibleUserWarning, match=r"`train_dataloader` has `num_workers=0`.*Up to `num_workers=7`"):
        warn_if_few_workers(loader(), "train")


@pytest.mark.usefixtures("eight_cpus")
def test_few_workers_are_fine_where_cpus_are_taken() -> None:
    warn_if_few_workers(loader(), "train", local_world_size=8)
    warn_if_few_workers(loader(num_workers=2), "train")
    warn_if_few_workers([1, 2], "train")


def test_length_of_an_iterable_dataset_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="IterableDataset of the `train_dataloader` has `__len__`"):
        warn_if_length_is_guessed(DataLoader(SizedStream()), "train")


def test_other_lengths_are_not_warned_about() -> None:
    warn_if_length_is_guessed(DataLoader(Stream()), "train")
    warn_if_length_is_guessed(loader(), "train")


@pytest.mark.filterwarnings("ignore:The samples of `SizedStream`")
def test_the_length_of_a_share_is_not_warned_about() -> None:
    warn_if_length_is_guessed(with_shared_iterable(DataLoader(SizedStream()), num_replicas=2, rank=0), "train")
