import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    WeightedRandomSampler,
)

from lt_fabric.data import CombinedLoader, DataPosition, skip_batches


class Recording(Dataset[int]):
    """Map-style set that records which items were read."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(5))


class Doubling(DataLoader[int]):
    """A user's loader that changes batches as they come, and whose __init__ takes other arguments."""

    def __init__(self, length: int, size: int) -> None:
        super().__init__(Recording(length), size, shuffle=True, generator=torch.Generator().manual_seed(3))

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            yield batch * 2


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


LOADERS: dict[str, Callable[[], DataLoader[int]]] = {
    "plain": lambda: DataLoader(Recording(11), batch_size=3),
    "shuffled": lambda: DataLoader(Recording(11), batch_size=3, shuffle=True, generator=generator()),
    "global generator": lambda: DataLoader(Recording(11), batch_size=3, shuffle=True),
    "drop last": lambda: DataLoader(Recording(11), batch_size=3, drop_last=True),
    "unbatched": lambda: DataLoader(Recording(5), batch_size=None, shuffle=True, generator=generator()),
    "weighted": lambda: DataLoader(Recording(4), 2, sampler=WeightedRandomSampler([1, 2, 3, 4], 9)),
    "batch sampler": lambda: DataLoader(
        Recording(11), batch_sampler=BatchSampler(SequentialSampler(range(11)), 4, False)
    ),
    "subclass": lambda: Doubling(11, 3),
    "workers": lambda: DataLoader(Recording(11), 3, shuffle=True, generator=generator(), num_workers=1),
}


def batches_of(iterator: Iterator[Any]) -> list[list[int]]:
    return [batch.tolist() if isinstance(batch, torch.Tensor) else batch for batch in iterator]


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "workers"])
@given(skipped=st.integers(0, 12))
def test_the_rest_is_what_plain_iteration_gives(name: str, skipped: int) -> None:
    torch.manual_seed(5)
    plain = batches_of(iter(LOADERS[name]()))
    torch.manual_seed(5)
    assert batches_of(skip_batches(LOADERS[name](), skipped)) == plain[skipped:]


def test_the_rest_is_what_plain_iteration_gives_with_workers() -> None:
    plain = batches_of(iter(LOADERS["workers"]()))
    assert batches_of(skip_batches(LOADERS["workers"](), 2)) == plain[2:]


def test_the_epoch_after_is_what_it_would_have_been() -> None:
    plain, resumed = LOADERS["shuffled"](), LOADERS["shuffled"]()
    list(plain)
    list(skip_batches(resumed, 2))
    assert batches_of(iter(resumed)) == batches_of(iter(plain))


def test_global_generator_ends_where_plain_iteration_leaves_it() -> None:
    torch.manual_seed(5)
    list(LOADERS["global generator"]())
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(skip_batches(LOADERS["global generator"](), 3))
    assert torch.equal(torch.rand(3), expected)


def test_no_skipped_sample_is_read() -> None:
    dataset = Recording(10)
    loader = DataLoader(dataset, batch_size=2, shuffle=True, generator=generator())
    rest = skip_batches(loader, 3)
    assert dataset.read == []
    assert batches_of(rest) == [dataset.read[:2], dataset.read[2:]]


def test_a_million_samples_are_skipped_without_reading_one() -> None:
    dataset = Recording(1_000_000)
    rest = skip_batches(DataLoader(dataset, batch_size=10, shuffle=True), 99_999)
    next(rest)
    assert len(dataset.read) == 10


@pytest.mark.parametrize("make", [lambda: DataLoader(Stream(), 2), lambda: [1, 2, 3]], ids=["stream", "list"])
def test_loader_that_cannot_be_positioned_is_read_with_a_warning(make: Callable[[], Any]) -> None:
    plain = batches_of(iter(make()))
    with pytest.warns(UserWarning, match="reading what was seen"):
        rest = skip_batches(make(), 1)
    assert batches_of(rest) == plain[1:]


def test_nothing_to_skip_needs_no_warning() -> None:
    assert list(skip_batches([1, 2], 0)) == [1, 2]


class Stateful:
    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        while self.at < 5:
            self.at += 1
            yield self.at - 1

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def test_position_round_trips_as_plain_data() -> None:
    position = DataPosition()
    position.start_epoch(2)
    position.batches_in_epoch += 3
    restored = DataPosition()
    restored.load_state_dict(position.state_dict())
    assert restored == position
    assert position.state_dict() == {"epoch": 2, "batches_in_epoch": 3, "loader_states": []}


def test_new_epoch_stands_before_its_first_batch() -> None:
    position = DataPosition(epoch=0, batches_in_epoch=7)
    position.start_epoch(1)
    assert (position.epoch, position.batches_in_epoch) == (1, 0)


def test_stateful_loader_goes_on_where_it_was_saved() -> None:
    loader = CombinedLoader(Stateful(), "max_size_cycle")
    steps = iter(loader)
    seen = [next(steps)[0] for _ in range(random.Random(0).randint(1, 4))]
    position = DataPosition(batches_in_epoch=len(seen))
    position.capture(loader)

    resumed = CombinedLoader(Stateful(), "max_size_cycle")
    restored = DataPosition()
    restored.load_state_dict(position.state_dict())
    restored.restore(resumed)
    assert seen + [batch for batch, _, _ in resumed] == [0, 1, 2, 3, 4]


def test_saved_states_need_loaders_to_go_to() -> None:
    with pytest.raises(RuntimeError, match="state of 1 loaders, but 0"):
        DataPosition(loader_states=[{"at": 1}]).restore(CombinedLoader(range(3)))


def test_position_without_states_fits_any_loader() -> None:
    DataPosition(epoch=1).restore(CombinedLoader([Stateful(), range(3)]))


def test_later_changes_do_not_reach_a_saved_position() -> None:
    position = DataPosition(loader_states=[{"at": 1}])
    saved = position.state_dict()
    position.loader_states[0]["at"] = 2
    assert saved["loader_states"] == [{"at": 1}]
