from collections.abc import Callable, Iterator
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fabric.data import CombinedLoader, batches


class Recording:
    """Loader that records which batches were read and whether its end was reached."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read: list[int] = []
        self.ended = False

    def __iter__(self) -> Iterator[int]:
        for batch in range(self.length):
            self.read.append(batch)
            yield batch
        self.ended = True


def steps(loader: object) -> CombinedLoader:
    return CombinedLoader(loader, "sequential")


@given(length=st.integers(0, 8))
def test_marks_the_last_batch_whether_or_not_the_length_is_known(length: int) -> None:
    expected = [(i, i, 0, i == length - 1) for i in range(length)]
    assert list(batches(steps(Recording(length)), length)) == expected
    assert list(batches(steps(Recording(length)))) == expected


@given(length=st.integers(0, 6), limit=st.integers(0, 6))
def test_look_ahead_marks_the_last_batch_of_a_loader_shorter_than_its_limit(length: int, limit: int) -> None:
    expected = [(i, i, 0, i == min(length, limit) - 1) for i in range(min(length, limit))]
    assert list(batches(steps(Recording(length)), limit, look_ahead=True)) == expected


def test_only_the_last_batch_of_all_loaders_is_the_last() -> None:
    marks = [is_last for *_, is_last in batches(steps([Recording(2), Recording(2)]), 4)]
    assert marks == [False, False, False, True]


def test_sized_loader_is_read_when_asked() -> None:
    loader = Recording(3)
    next(batches(steps(loader), 3))
    assert loader.read == [0]


def test_unsized_loader_is_read_one_batch_ahead() -> None:
    loader = Recording(3)
    next(batches(steps(loader), inf))
    assert loader.read == [0, 1]


def test_sized_loader_reaches_its_own_end() -> None:
    loader = Recording(3)
    list(batches(steps(loader), 3))
    assert loader.ended


def test_loader_longer_than_its_length_is_cut_there() -> None:
    assert [batch for batch, *_ in batches(steps(Recording(5)), 2)] == [0, 1]


@pytest.mark.parametrize("fetch", [lambda s: batches(s, 5), batches], ids=["sized", "unsized"])
def test_exception_comes_out_unchanged_after_the_batches_before_it(
    fetch: Callable[[CombinedLoader], Iterator[tuple[int, int, int, bool]]],
) -> None:
    error = OSError("disk gone")

    def failing() -> Iterator[int]:
        yield 0
        yield 1
        raise error

    marked = fetch(steps(failing()))
    assert [next(marked), next(marked)] == [(0, 0, 0, False), (1, 1, 0, False)]
    with pytest.raises(OSError, match="disk gone") as caught:
        next(marked)
    assert caught.value is error
