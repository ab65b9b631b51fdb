import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from epoch_loops import Key, KeySampler, Lazy, StatefulSampler, seed
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler, Sampler

from lt_fabric.data.index_stream import IndexStream


class Counted(Sampler[int]):
    """Counts how often it was iterated, and how many indices it gave."""

    def __init__(self) -> None:
        self.passes = 0
        self.drawn = 0

    def __len__(self) -> int:
        return 9

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        for index in range(9):
            self.drawn += 1
            yield index


def went_on(sampler: Any, state: dict[str, Any]) -> list[Any]:
    stream = IndexStream(sampler, 4)
    stream.resume(**state)
    return list(stream)


# --- a pass ---


def test_it_gives_what_the_sampler_gives_pass_after_pass() -> None:
    stream = IndexStream(range(3), 2)
    assert (list(stream), list(stream), len(stream)) == ([0, 1, 2], [0, 1, 2], 3)


def test_a_sampler_is_iterated_when_indices_are_asked_for_once() -> None:
    sampler = Counted()
    stream = IndexStream(sampler, 2)
    iter(stream)
    before = sampler.passes
    list(iter(stream))
    assert (before, sampler.passes) == (0, 1)


def test_priming_draws_the_first_index_and_no_more() -> None:
    sampler = Counted()
    stream = IndexStream(sampler, 2)
    indices = iter(stream)
    stream.prime()
    stream.prime()
    assert (sampler.drawn, list(indices)) == (1, list(range(9)))


def test_order_is_drawn_when_the_pass_is_primed_whatever_draws_later() -> None:
    seed(3)
    expected = list(RandomSampler(range(9)))
    seed(3)
    stream = IndexStream(RandomSampler(range(9)), 2)
    indices = iter(stream)
    stream.prime()
    torch.rand(5)
    assert list(indices) == expected


def test_whether_a_pass_has_begun_is_known() -> None:
    stream = IndexStream(range(3), 2)
    stream.expect()
    before = stream.was_opened
    iter(stream)
    after = stream.was_opened
    stream.expect()
    assert (before, after, stream.was_opened) == (False, True, False)


# --- going on ---


@given(drawn=st.integers(0, 9), ahead=st.integers(0, 4))
def test_what_was_drawn_and_not_trained_on_comes_again(drawn: int, ahead: int) -> None:
    stream = IndexStream(range(9), 4)
    list(islice(stream, drawn))
    taken = max(drawn - ahead, 0)
    state = stream.state_dict(taken)
    assert state["pending"] == list(range(taken, drawn))
    assert went_on(range(9), state) == list(range(taken, 9))


@given(drawn=st.integers(1, 4), ahead=st.integers(0, 2))
def test_indices_drawn_from_a_generator_that_others_use_come_again_as_they_were(drawn: int, ahead: int) -> None:
    seed(1)
    stream = IndexStream(Lazy(), 4)
    batches = []
    for batch in stream:
        random.random()  # as training might
        batches.append(batch)
    seed(1)
    again = IndexStream(Lazy(), 4)
    for _ in islice(again, drawn - 1):
        random.random()
    state = again.state_dict(max(drawn - 1 - ahead, 0))
    generator = random.getstate()
    stream = IndexStream(Lazy(), 4)
    stream.resume(**state)
    rest = iter(stream)
    stream.prime()
    random.setstate(generator)
    found = list(islice(rest, len(state["pending"])))
    for batch in rest:
        random.random()
        found.append(batch)
    assert found == batches[max(drawn - 1 - ahead, 0) :]


def test_sampler_with_a_state_isnt_read_again() -> None:
    sampler = StatefulSampler(11)
    stream = IndexStream(sampler, 4)
    whole = list(IndexStream(StatefulSampler(11), 4))
    list(islice(stream, 6))
    state = stream.state_dict(5)
    assert state["sampler_state"] == {"at": 6, "passes": 0}
    state["drawn"] = 1_000_000  # nobody counts
    assert went_on(StatefulSampler(11), state) == whole[5:]


def test_state_of_the_sampler_in_torchs_batch_sampler_is_kept() -> None:
    def batches() -> BatchSampler:
        return BatchSampler(StatefulSampler(11), 2, drop_last=False)  # type: ignore[arg-type]

    stream = IndexStream(batches(), 4)
    list(islice(stream, 3))
    state = stream.state_dict(2)
    assert state["sampler_state"] == {"at": 6, "passes": 0}
    assert went_on(batches(), state) == list(batches())[2:]


def test_a_pass_is_resumed_once() -> None:
    stream = IndexStream(range(4), 2)
    stream.resume(2)
    assert (list(stream), list(stream)) == ([2, 3], [0, 1, 2, 3])


def test_a_pass_that_was_asked_for_twice_before_it_began_is_resumed_all_the_same() -> None:
    stream = IndexStream(range(4), 2)
    stream.resume(2)
    iter(stream)
    assert list(stream) == [2, 3]


def test_saving_again_before_anything_is_drawn_gives_the_same_place() -> None:
    stream = IndexStream(range(9), 4)
    list(islice(stream, 5))
    state = stream.state_dict(3)
    resumed = IndexStream(range(9), 4)
    resumed.resume(**state)
    iter(resumed)
    resumed.prime()
    assert resumed.state_dict(3) == state


def test_before_a_pass_as_many_are_drawn_as_were_trained_on() -> None:
    assert IndexStream(range(9), 4).state_dict(2) == {"drawn": 2, "pending": [], "sampler_state": None}


# --- indices that no checkpoint can hold ---


@pytest.mark.parametrize("ahead", [0, 2])
def test_indices_that_cannot_be_stored_are_drawn_again(ahead: int) -> None:
    seed(2)
    expected = [batch[0].number for batch in KeySampler()]
    seed(2)
    stream = IndexStream(KeySampler(), 4)
    list(islice(stream, 1 + ahead))
    state = stream.state_dict(1)
    assert state == {"drawn": 1, "pending": [], "sampler_state": None}
    seed(2)
    assert [batch[0].number for batch in went_on(KeySampler(), state)] == expected[1:]


def test_only_what_cannot_be_stored_is_drawn_again() -> None:
    class Mixed:
        def __iter__(self) -> Iterator[Any]:
            return iter([Key(0), 1, 2])

    stream = IndexStream(Mixed(), 4)
    list(islice(stream, 3))
    assert stream.state_dict(1) == {"drawn": 3, "pending": [1, 2], "sampler_state": None}
    assert stream.state_dict(0)["pending"] == []
