"""Promises of `DataPosition`, seen by a loop that saves at a boundary and another that goes on from there."""

import random
import time
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from epoch_loops import (
    ALL_WITHOUT_WORKERS,
    READ_AGAIN,
    WITH_WORKERS,
    Loaders,
    Loop,
    Recording,
    StatefulSampler,
    plain,
    seed,
    stored,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lt_fabric.data import CombinedLoader, DataPosition
from lt_interfaces.rng import capture_rng_state, restore_rng_state

# torchdata calls what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
EVERYWHERE = tuple(range(40))
IN_WORKERS = pytest.mark.filterwarnings("ignore:Training goes on in mid-epoch with a DataLoader that has")


def uninterrupted(make: Loaders, **options: Any) -> Loop:
    seed(5)
    return Loop(make(), **options).run(2)


def assert_goes_on_exactly(make: Loaders, *, saves_at: tuple[int, ...] = EVERYWHERE, **options: Any) -> None:
    """Save at these boundaries, and compare what a new process makes of each with what came after it."""
    plain = uninterrupted(make, **options)
    saving = uninterrupted(make, saves_at=saves_at, **options)
    assert saving.seen == plain.seen, "saving isn't noticed"
    for save in saving.saved:
        seed(99)
        resumed = Loop(make(), **options).run(2, save)
        assert resumed.seen == plain.seen[save.steps_before :], f"saved after {save.steps_before} steps"


# --- any loader, at any boundary ---


@pytest.mark.parametrize("name", ALL_WITHOUT_WORKERS)
def test_what_follows_any_boundary_is_what_uninterrupted_training_sees(name: str) -> None:
    assert_goes_on_exactly(ALL_WITHOUT_WORKERS[name])


@pytest.mark.parametrize("name", ALL_WITHOUT_WORKERS)
def test_epochs_that_a_limit_cuts_go_on_exactly(name: str) -> None:
    assert_goes_on_exactly(ALL_WITHOUT_WORKERS[name], limit=2)


@pytest.mark.parametrize("name", ALL_WITHOUT_WORKERS)
def test_epochs_that_are_left_early_go_on_exactly(name: str) -> None:
    assert_goes_on_exactly(ALL_WITHOUT_WORKERS[name], leaves_after=2)


def test_stateful_sampler_whose_last_batch_is_not_full_is_over_with_it() -> None:
    assert_goes_on_exactly(lambda: DataLoader(Recording(11), 3, sampler=StatefulSampler(11)))


def test_stateful_loader_may_be_saved_again_before_the_next_pass_over_it() -> None:
    make = ALL_WITHOUT_WORKERS["StatefulDataLoader, stateful set"]
    first = uninterrupted(make, limit=1, saves_at=(0,))
    second = Loop(make(), limit=1, saves_at=(0,)).run(1, first.saved[0])
    assert Loop(make(), limit=1).run(2, second.saved[0]).seen == first.seen[1:]


@pytest.mark.filterwarnings("ignore:Going on after batch")
@pytest.mark.parametrize("name", READ_AGAIN)
def test_what_is_read_again_goes_on_exactly(name: str) -> None:
    assert_goes_on_exactly(READ_AGAIN[name])


@IN_WORKERS
@pytest.mark.parametrize("name", WITH_WORKERS)
def test_loaders_with_workers_go_on_exactly(name: str) -> None:
    assert_goes_on_exactly(WITH_WORKERS[name], saves_at=(0, 3, 9))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([name for name in ALL_WITHOUT_WORKERS if "tateful" not in name and "unknown" not in name]),
    interruptions=st.lists(st.integers(0, 5), min_size=2, max_size=5),
    limit=st.integers(1, 6) | st.just(inf),
)
def test_a_run_may_be_interrupted_again_and_again(name: str, interruptions: list[int], limit: float) -> None:
    make = ALL_WITHOUT_WORKERS[name]
    plain = uninterrupted(make, limit=limit)
    seen: list[Any] = []
    save = None
    seed(5)
    for steps in interruptions:
        part = Loop(make(), limit=limit, saves_at=(steps,)).run(2, save)
        if not part.saved:
            seen += part.seen
            break
        save = part.saved[0]
        seen += part.seen[: save.steps_before]
        seed(99)
    else:
        seen += Loop(make(), limit=limit).run(2, save).seen
    assert seen == plain.seen


@pytest.mark.parametrize("name", ALL_WITHOUT_WORKERS)
def test_saving_again_right_after_resuming_saves_the_same_place(name: str) -> None:
    make = ALL_WITHOUT_WORKERS[name]
    first = uninterrupted(make, saves_at=(1,))
    save = first.saved[0]
    loop = Loop(make())
    loop.position.load_state_dict(save.position)
    save.position = loop.position.state_dict(loop.position.row)
    assert Loop(make()).run(2, save).seen == first.seen[save.steps_before :]


@pytest.mark.parametrize("name", ALL_WITHOUT_WORKERS)
def test_saving_again_once_the_loaders_are_open_saves_the_same_place(name: str) -> None:
    make = ALL_WITHOUT_WORKERS[name]
    first = uninterrupted(make, saves_at=(1,))
    save = first.saved[0]
    loop = Loop(make())
    loop.position.load_state_dict(save.position)
    restore_rng_state(save.rng)
    row, ahead = loop.position.row, loop.position.batches_ahead
    steps = loop.position.steps(ahead)
    for _ in range(ahead):
        next(steps, None)
    save.position, save.rng = loop.position.state_dict(row), capture_rng_state()
    assert Loop(make()).run(2, save).seen == first.seen[save.steps_before :]


# --- generators ---


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.random(), torch.rand(()).item()


@pytest.mark.parametrize("name", ALL_WITHOUT_WORKERS)
def test_global_generators_are_as_they_were_when_the_state_was_taken(name: str) -> None:
    save = uninterrupted(ALL_WITHOUT_WORKERS[name], saves_at=(0,)).saved[0]
    seed(99)
    position = Loop(ALL_WITHOUT_WORKERS[name]()).position
    position.load_state_dict(save.position)
    position.steps(position.batches_ahead)
    found = draws()
    restore_rng_state(save.rng)
    assert found == draws()


# --- no item is read ---


def test_no_skipped_item_is_read() -> None:
    save = uninterrupted(lambda: DataLoader(Recording(10), 2, shuffle=True), saves_at=(2,)).saved[0]
    dataset = Recording(10)
    seen = Loop(DataLoader(dataset, 2, shuffle=True)).run(1, save).seen
    assert len(dataset.read) == 4
    assert dataset.read == [index for _, _, batch, _ in seen for index in batch]


def test_a_million_samples_are_skipped_within_a_second_without_reading_one() -> None:
    dataset = Recording(1_000_000)
    position = DataPosition(CombinedLoader(DataLoader(dataset, 10, shuffle=True)))
    position.skip(99_999)
    before = time.process_time()
    steps = position.steps()
    assert time.process_time() - before < 1
    assert dataset.read == []
    assert next(steps)[1] == 99_999
    assert len(dataset.read) == 10


# --- what a position can be given ---


def test_another_number_of_loaders_is_refused() -> None:
    save = uninterrupted(lambda: [range(3), range(3)], saves_at=(0,)).saved[0]
    with pytest.raises(ValueError, match=r"that of 2 loaders, but there are 1\. Resume with the loaders"):
        DataPosition(CombinedLoader(range(3))).load_state_dict(save.position)


def test_position_saved_before_the_loaders_were_opened_begins_at_the_first_batch() -> None:
    def make() -> DataPosition:
        return DataPosition(CombinedLoader([range(3)]))

    saved, position = make().state_dict(0), make()
    position.load_state_dict(stored(saved))
    assert not position.is_resumed
    assert len(list(position.steps())) == 3


def test_row_and_whether_it_goes_on_are_known_before_the_steps() -> None:
    save = uninterrupted(lambda: DataLoader(Recording(6), 2), saves_at=(1, 3)).saved
    found = []
    for place in save:
        position = DataPosition(CombinedLoader(DataLoader(Recording(6), 2)))
        before = (position.row, position.is_resumed)
        position.load_state_dict(place.position)
        found.append((before, (position.row, position.is_resumed)))
    assert found == [((0, False), (2, True)), ((0, False), (0, False))]


def test_batches_whose_position_nobody_saved_are_skipped_without_moving_generators() -> None:
    seed(5)
    whole = [plain(batch) for batch in DataLoader(Recording(9), 2, shuffle=True)]
    seed(5)
    before = torch.get_rng_state()
    position = DataPosition(CombinedLoader(DataLoader(Recording(9), 2, shuffle=True)))
    position.skip(2)
    steps = position.steps()
    assert torch.equal(torch.get_rng_state(), before)
    assert [(plain(batch), row) for batch, row, _ in steps] == [(whole[row], row) for row in (2, 3, 4)]
