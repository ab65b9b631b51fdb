"""Promises of `ResumableLoader`, seen by a loop of one's own that saves, and another that loads and goes on."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from epoch_loops import POSITIONED, READ_AGAIN, WITH_WORKERS, Noisy, Recording, own, plain, seed, stored
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lt_fabric import Fabric
from lt_fabric.data import CombinedLoader, ResumableLoader
from lt_fabric.data.fabric_loader import FabricDataLoader
from lt_interfaces.rank_zero import rank_zero_only

# torchdata calls what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
IN_WORKERS = pytest.mark.filterwarnings("ignore:Training goes on in mid-epoch with a DataLoader that has")
Make: TypeAlias = Callable[[], Any]
Saved: TypeAlias = list[tuple[Any, int]]


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.random(), torch.rand(()).item()


def train(data: ResumableLoader, epochs: int = 2, saved: Saved | None = None, *, every: int = 1) -> list[Any]:
    """Return all that a loop sees; save after each batch and each epoch, or after every so many."""
    seen: list[Any] = []
    boundaries = 0

    def boundary() -> None:
        nonlocal boundaries
        if saved is not None and boundaries % every == 0:
            saved.append((stored(data.state_dict()), len(seen)))
        boundaries += 1

    while data.epoch < epochs:
        for batch in data:
            seen.append((data.epoch, data.batches_done, plain(batch), draws()))
            boundary()
        seen.append(("validated", draws()))
        boundary()
    return seen


def loaded(make: Make, state: Any) -> ResumableLoader:
    data = ResumableLoader(make())
    data.load_state_dict(state)
    return data


def assert_goes_on_exactly(make: Make, *, every: int = 1) -> None:
    seed(5)
    uninterrupted = train(ResumableLoader(make()))
    seed(5)
    saved: Saved = []
    assert train(ResumableLoader(make()), saved=saved, every=every) == uninterrupted, "saving isn't noticed"
    assert len(saved) > 1
    for state, seen_before in saved:
        seed(99)
        rest = train(loaded(make, state))
        assert rest == uninterrupted[seen_before:], f"saved after {seen_before} steps"


# --- from any batch to the next ---


@pytest.mark.parametrize("name", POSITIONED)
def test_what_follows_any_save_is_what_an_uninterrupted_loop_sees(name: str) -> None:
    assert_goes_on_exactly(POSITIONED[name])


@IN_WORKERS
@pytest.mark.parametrize("name", WITH_WORKERS)
def test_loaders_with_workers_go_on_exactly(name: str) -> None:
    assert_goes_on_exactly(WITH_WORKERS[name], every=5)


@pytest.mark.filterwarnings("ignore:Going on after batch")
@pytest.mark.parametrize("name", READ_AGAIN)
def test_loaders_that_cannot_be_positioned_are_read_again(name: str) -> None:
    assert_goes_on_exactly(READ_AGAIN[name])


def test_no_item_of_earlier_batches_is_read() -> None:
    saved: Saved = []
    train(ResumableLoader(DataLoader(Recording(10), 2, shuffle=True)), 1, saved)
    dataset = Recording(10)
    train(loaded(lambda: DataLoader(dataset, 2, shuffle=True), saved[2][0]), 1)
    assert len(dataset.read) == 4


def test_epochs_equal_those_of_the_loader_itself() -> None:
    def two_epochs(wrap: Callable[[Any], Any]) -> list[Any]:
        seed(5)
        loader = wrap(DataLoader(Noisy(11), 3, shuffle=True))
        return [plain(batch) for _ in range(2) for batch in loader]

    assert two_epochs(ResumableLoader) == two_epochs(lambda loader: loader)


# --- Fabric ---


def test_fabric_saves_and_loads_it_beside_other_state(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu")

    def make() -> ResumableLoader:
        loader = DataLoader(Noisy(11), 3, shuffle=True, generator=own())
        return ResumableLoader(fabric.setup_dataloaders(loader))

    seed(5)
    uninterrupted = train(make())
    seed(5)
    data, seen = make(), []
    for batch in data:
        seen.append((data.epoch, data.batches_done, plain(batch), draws()))
        if data.batches_done == 2:
            fabric.save(tmp_path / "last.ckpt", {"data": data, "step": 2})
            break
    seed(99)
    state = {"data": make(), "step": 0}
    assert fabric.load(tmp_path / "last.ckpt", state) == {}
    assert state["step"] == 2
    assert seen + train(state["data"]) == uninterrupted  # type: ignore[arg-type]


def test_set_up_loader_is_positioned_and_its_batches_are_moved() -> None:
    dataset = Recording(8)
    data = ResumableLoader(FabricDataLoader(DataLoader(dataset, 2), torch.device("meta")))
    next(iter(data))
    resumed_set = Recording(8)
    resumed = loaded(lambda: FabricDataLoader(DataLoader(resumed_set, 2), torch.device("meta")), data.state_dict())
    assert {batch.device.type for batch in resumed} == {"meta"}
    assert resumed_set.read == [2, 3, 4, 5, 6, 7]


class Given:
    """A loader over what it was given."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def test_batches_of_a_loader_that_was_not_set_up_stay_where_they_are() -> None:
    batches = [torch.zeros(1)]
    assert next(iter(ResumableLoader(Given(batches)))) is batches[0]


def test_samplers_hear_which_epoch_is_read_after_a_load_too() -> None:
    def make() -> FabricDataLoader:
        return FabricDataLoader(DataLoader(range(6), sampler=DistributedSampler(range(6), 2, 0)))  # type: ignore[arg-type]

    assert_goes_on_exactly(make)
    data = ResumableLoader(make())
    first, second = train(data, 1), train(data, 2)
    assert [step[2] for step in first[:-1]] != [step[2] for step in second[:-1]]


# --- where it stands ---


def test_epoch_and_batches_are_known_in_the_loop_and_between_epochs() -> None:
    data = ResumableLoader(range(2))
    found = [(data.epoch, data.batches_done)]
    for _ in range(2):
        found += [(data.epoch, data.batches_done) for _ in data]
        found.append((data.epoch, data.batches_done))
    assert found == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]


def test_they_are_known_as_soon_as_a_state_is_loaded() -> None:
    saved: Saved = []
    train(ResumableLoader(range(3)), saved=saved)
    places = [loaded(lambda: range(3), state) for state, _ in saved]
    assert [(data.epoch, data.batches_done) for data in places[:6]] == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]


def test_its_length_is_that_of_a_whole_epoch() -> None:
    data = ResumableLoader(DataLoader(range(5), 2))  # type: ignore[arg-type]
    next(iter(data))
    assert len(data) == 3


def test_state_saved_before_the_first_epoch_goes_on_from_its_begin() -> None:
    seed(5)
    state = stored(ResumableLoader(DataLoader(Noisy(11), 3, shuffle=True)).state_dict())
    uninterrupted = train(ResumableLoader(DataLoader(Noisy(11), 3, shuffle=True)))
    seed(99)
    assert train(loaded(lambda: DataLoader(Noisy(11), 3, shuffle=True), state)) == uninterrupted


def test_generators_are_those_of_the_save_once_a_state_is_loaded() -> None:
    data = ResumableLoader(DataLoader(Noisy(5), 2, shuffle=True))
    next(iter(data))
    state, expected = stored(data.state_dict()), draws()
    seed(99)
    again = loaded(lambda: DataLoader(Noisy(5), 2, shuffle=True), state)
    assert draws() == expected
    iter(again)
    assert draws() == expected


def test_saving_what_was_just_loaded_saves_the_same_place() -> None:
    make = POSITIONED["noisy items"]
    saved: Saved = []
    seed(5)
    uninterrupted = train(ResumableLoader(make()), saved=saved)
    for state, seen_before in saved:
        again = stored(loaded(make, state).state_dict())
        assert train(loaded(make, again)) == uninterrupted[seen_before:]


# --- loops that are left ---


def test_next_loop_goes_on_after_a_break() -> None:
    data = ResumableLoader(range(5))
    for batch in data:
        if batch == 1:
            break
    assert list(data) == [2, 3, 4]
    assert list(data) == [0, 1, 2, 3, 4]


def test_place_saved_after_a_break_is_within_the_epoch() -> None:
    data = ResumableLoader(range(5))
    for batch in data:
        if batch == 1:
            break
    assert list(loaded(lambda: range(5), data.state_dict())) == [2, 3, 4]


UNREADABLE = OSError("unreadable")


class FailsOnce(Dataset[int]):
    def __init__(self) -> None:
        self.has_failed = False

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 3 and not self.has_failed:
            self.has_failed = True
            raise UNREADABLE
        return index


class FailingStream:
    """Its length is unknown, and it fails once."""

    def __init__(self) -> None:
        self.has_failed = False
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        while self.at < 6:
            if self.at == 3 and not self.has_failed:
                self.has_failed = True
                raise UNREADABLE
            self.at += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


@pytest.mark.parametrize("make", [lambda: DataLoader(FailsOnce(), 2), FailingStream])
def test_batch_that_could_not_be_read_comes_again(make: Make) -> None:
    whole = [plain(batch) for batch in ResumableLoader(range(6) if make is FailingStream else DataLoader(range(6), 2))]  # type: ignore[arg-type]
    data = ResumableLoader(make())
    seen: list[Any] = []
    with pytest.raises(OSError, match="unreadable"):
        seen.extend(plain(batch) for batch in data)
    assert data.batches_done == len(seen) > 0
    assert data.epoch == 0
    seen += [plain(batch) for batch in data]
    assert seen == whole
    assert data.epoch == 1


def test_epoch_may_be_ended_in_its_loop() -> None:
    data = ResumableLoader(range(5))
    seen = []
    while data.epoch < 2:
        for batch in data:
            seen.append(batch)
            if data.batches_done == 2:
                data.end_epoch()
    assert seen == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["noisy items", "StatefulDataLoader"])
def test_ended_epochs_go_on_exactly(name: str) -> None:
    def short_epochs(data: ResumableLoader, saved: Saved) -> list[Any]:
        seen: list[Any] = []
        while data.epoch < 3:
            for batch in data:
                seen.append((plain(batch), draws()))
                if data.batches_done == 2:
                    data.end_epoch()
                saved.append((stored(data.state_dict()), len(seen)))
        return seen

    make = POSITIONED[name]
    seed(5)
    saved: Saved = []
    uninterrupted = short_epochs(ResumableLoader(make()), saved)
    assert len(uninterrupted) == 6
    for state, seen_before in saved:
        assert short_epochs(loaded(make, state), []) == uninterrupted[seen_before:]


def test_epoch_that_was_loaded_may_be_ended_before_it_goes_on() -> None:
    data = ResumableLoader(range(5))
    next(iter(data))
    resumed = loaded(lambda: range(5), data.state_dict())
    resumed.end_epoch()
    assert (resumed.epoch, resumed.batches_done, list(resumed)) == (1, 0, [0, 1, 2, 3, 4])


def test_ending_an_epoch_that_has_ended_does_nothing() -> None:
    data = ResumableLoader(range(2))
    list(data)
    data.end_epoch()
    assert data.epoch == 1


def test_running_loop_ends_when_a_state_is_loaded() -> None:
    make = POSITIONED["noisy items"]
    seed(5)
    data = ResumableLoader(make())
    saved: Any = None
    seen: list[Any] = []
    while data.epoch < 2:
        for batch in data:
            seen.append((data.epoch, plain(batch)))
            if len(seen) == 2:
                saved = stored(data.state_dict())
            if len(seen) == 6:
                data.load_state_dict(saved)
    assert seen[2:6] == seen[6:10]
    assert len(seen) == 12


def test_loaders_iterated_together_go_on_exactly() -> None:
    def make() -> tuple[ResumableLoader, ResumableLoader]:
        return ResumableLoader(DataLoader(Noisy(11), 3, shuffle=True)), ResumableLoader(POSITIONED["noisy items"]())

    def both(first: ResumableLoader, second: ResumableLoader, saved: Saved) -> list[Any]:
        seen: list[Any] = []
        while first.epoch < 2:
            for pair in zip(first, second, strict=True):
                seen.append((plain(pair), draws()))
                saved.append((stored([first.state_dict(), second.state_dict()]), len(seen)))
        return seen

    seed(5)
    saved: Saved = []
    uninterrupted = both(*make(), saved)
    for states, seen_before in saved:
        seed(99)
        first, second = make()
        first.load_state_dict(states[0])
        second.load_state_dict(states[1])
        assert both(first, second, []) == uninterrupted[seen_before:]


# --- several processes ---


def on_rank(rank: int, monkeypatch: pytest.MonkeyPatch, num_workers: int = 0) -> Any:
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    sampler: DistributedSampler[int] = DistributedSampler(range(12), 2, rank)  # type: ignore[arg-type]
    return DataLoader(range(12), 2, sampler=sampler, num_workers=num_workers)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_workers", [0, 1])  # workers read indices ahead, and rank 0's are in its state
def test_each_rank_goes_on_with_its_own_samples_from_what_rank_0_saved(
    num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: Saved = []
    train(ResumableLoader(on_rank(0, monkeypatch, num_workers)), saved=saved)
    uninterrupted = [step[:3] for step in train(ResumableLoader(on_rank(1, monkeypatch)))]
    for state, seen_before in saved[:6]:
        resumed = ResumableLoader(on_rank(1, monkeypatch, num_workers))
        resumed.load_state_dict(state)
        rest = [step[:3] for step in train(resumed)]
        assert samples(rest) == samples(uninterrupted[seen_before:])


def samples(seen: list[Any]) -> list[Any]:
    return [step for step in seen if step[0] != "validated"]


def test_generators_of_rank_0_are_not_given_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    seed(5)
    saved: Saved = []
    train(ResumableLoader(on_rank(0, monkeypatch)), saved=saved)
    for place, (state, _) in {"within an epoch": saved[1], "at its end": saved[3]}.items():
        resumed = ResumableLoader(on_rank(1, monkeypatch))
        seed(99)
        expected = draws()
        seed(99)
        resumed.load_state_dict(state)
        if place == "within an epoch":
            iter(resumed)
        assert draws() == expected, place


def test_each_rank_takes_its_own_state_of_those_that_all_have_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, states = [], []
    for rank in (0, 1):
        seed(5 + rank)
        saved: Saved = []
        whole.append(train(ResumableLoader(on_rank(rank, monkeypatch)), saved=saved))
        states.append(saved[1])
    for rank in (0, 1):
        resumed = ResumableLoader(on_rank(rank, monkeypatch))
        seed(99)
        resumed.load_state_dict({"ranks": [state for state, _ in states]})
        assert train(resumed) == whole[rank][states[rank][1] :]


def test_one_process_goes_on_with_what_two_would_see_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, states = [], []
    for rank in (0, 1):
        saved: Saved = []
        whole.append(samples(train(ResumableLoader(on_rank(rank, monkeypatch)), saved=saved)))
        states.append(saved[1][0])
    resumed = ResumableLoader(DataLoader(range(12), 4, shuffle=True))  # type: ignore[arg-type]
    resumed.load_rank_states(states, rank=0, world_size=1)
    assert (resumed.epoch, resumed.batches_done) == (0, 2)
    rest = samples(train(resumed))
    together = [sorted([*one[2], *other[2]]) for one, other in zip(*whole, strict=True)]
    assert [sorted(step[2]) for step in rest] == together[2:]


def test_one_process_goes_on_exactly_whatever_rank_it_was_saved_with(monkeypatch: pytest.MonkeyPatch) -> None:
    make = POSITIONED["noisy items"]
    seed(5)
    saved: Saved = []
    monkeypatch.setattr(rank_zero_only, "rank", 3)  # as in a job of one process among others
    uninterrupted = train(ResumableLoader(make()), saved=saved)
    for rank in (3, 0):
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        seed(99)
        assert train(loaded(make, saved[1][0])) == uninterrupted[saved[1][1] :]


# --- what's refused ---


@pytest.mark.parametrize("several", [[range(3)], (range(3), range(3)), {"a": range(3)}, CombinedLoader(range(3))])
def test_several_loaders_are_refused(several: Any) -> None:
    with pytest.raises(TypeError, match=r"`loader` must be one loader, not a \w+: give each loader a ResumableLoader"):
        ResumableLoader(several)


def test_state_of_a_loader_with_other_generators_is_refused_and_changes_nothing() -> None:
    data = ResumableLoader(DataLoader(Recording(6), shuffle=True, generator=own()))
    next(iter(data))
    other = ResumableLoader(DataLoader(Recording(6)))
    with pytest.raises(ValueError, match="Resume with the loader"):
        other.load_state_dict(data.state_dict())
    assert (other.epoch, other.batches_done) == (0, 0)
