from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.refresh_pace import RefreshPace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refreshes(every: int, batches: int, seconds_per_batch: float, **limits: float) -> list[int]:
    clock = Clock()
    pace = RefreshPace(every, clock=clock, **limits)
    due = []
    for done in range(1, batches + 1):
        clock.now += seconds_per_batch
        if pace.is_due(done):
            due.append(done)
    return due


def test_slow_batches_refresh_at_every_multiple() -> None:
    assert refreshes(3, 10, 0.2, longest_seconds=60) == [3, 6, 9]


def test_fast_batches_refresh_ten_times_a_second() -> None:
    assert len(refreshes(1, 1024, 1 / 1024)) == pytest.approx(10, abs=1)


def test_very_slow_batches_refresh_though_few() -> None:
    assert refreshes(100, 4, 2.0) == [1, 2, 3, 4]


def test_zero_never_refreshes() -> None:
    assert refreshes(0, 100, 10.0) == []


@given(st.integers(1, 20), st.floats(0.001, 5), st.floats(0, 1), st.floats(0, 5))
def test_refreshes_are_never_closer_than_the_shortest_time(
    every: int, seconds: float, shortest: float, more: float
) -> None:
    due = refreshes(every, 200, seconds, shortest_seconds=shortest, longest_seconds=shortest + more)
    assert all((second - first) * seconds >= shortest - 1e-9 for first, second in pairwise(due))


def test_a_new_bar_counts_anew() -> None:
    clock = Clock()
    pace = RefreshPace(2, shortest_seconds=0, longest_seconds=60, clock=clock)
    assert pace.is_due(2)
    pace.restart()
    assert not pace.is_due(1)
    assert pace.is_due(2)
