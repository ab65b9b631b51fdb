"""Ranks of different amounts of data agree on equally many steps; here ranks are threads."""

from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from thread_ranks import Job, Rank

from lt_core.run.uneven_data import EqualSteps, UnevenData
from lt_interfaces.flag_exchange import FlagExchange

Outcome = tuple[list[Any], list[float]]


class _Exchange(FlagExchange):
    """Counts flags when it's asked, by a meeting of threads."""

    def __init__(self, rank: "_Rank") -> None:
        self._rank = rank
        self._counts: list[int] = []

    def exchange(self, flags: Any) -> Any:
        before = self._counts
        everybody = self._rank.meet(list(flags))
        self._counts = [sum(column) for column in zip(*everybody, strict=True)]
        return before

    def settle(self) -> Any:
        return self._counts


class _Rank:
    def __init__(self, rank: Rank) -> None:
        self.world_size, self.root_device, self.all_gather = rank.world_size, rank.root_device, rank.all_gather
        self._job, self._number = rank._job, rank.rank

    def meet(self, thing: Any) -> list[Any]:
        return self._job.meet(self._number, thing)

    def open_flag_exchange(self, every: int | None = None) -> FlagExchange:
        assert every == 1
        return _Exchange(self)


def steps_of(rank: int, count: int) -> Iterator[Any]:
    for row in range(count):
        yield f"{rank}.{row}", row, 0


def epoch(counts: list[int], policy: UnevenData, *, sized: list[bool] | None = None, start: int = 0) -> list[Outcome]:
    """Return by rank the batches and weights of one epoch."""

    def run(rank: Rank) -> Outcome:
        own, is_sized = counts[rank.rank], sized is None or sized[rank.rank]
        equal = EqualSteps(_Rank(rank), policy)  # type: ignore[arg-type]  # has what's asked for
        total = equal.settle(own if is_sized else inf, is_sized=is_sized)
        mine = (step for step in steps_of(rank.rank, own) if step[1] >= start)
        found, weights = [], []
        for batch, row, _ in equal.given(mine, lambda: "spare", row=start):
            if row >= total:
                break
            found.append(batch)
            weights.append(equal.weight_of(row))
        return found, weights

    return Job(len(counts)).run(run)


UNSIZED = [None, [False, False], [True, False], [False, True]]


@pytest.mark.filterwarnings("ignore:Ranks have different")
@pytest.mark.parametrize("sized", UNSIZED)
def test_stop_ends_with_the_first_rank_that_has_none_left(sized: list[bool] | None) -> None:
    first, second = epoch([2, 4], "stop", sized=sized)
    assert first[0] == ["0.0", "0.1"]
    assert second[0] == ["1.0", "1.1"]


@pytest.mark.filterwarnings("ignore:Ranks have different")
@pytest.mark.parametrize("sized", UNSIZED)
def test_pad_repeats_batches_that_count_for_nothing_until_all_are_through(sized: list[bool] | None) -> None:
    first, second = epoch([2, 4], "pad", sized=sized)
    assert first == (["0.0", "0.1", "0.1", "0.1"], [1.0, 1.0, 0.0, 0.0])
    assert second == (["1.0", "1.1", "1.2", "1.3"], [1.0] * 4)


@pytest.mark.filterwarnings("ignore:Ranks have different")
@pytest.mark.parametrize("sized", [None, [False, False]])
def test_epoch_resumed_where_a_rank_is_through_pads_with_a_spare_batch(sized: list[bool] | None) -> None:
    first, second = epoch([2, 4], "pad", sized=sized, start=3)
    assert first == (["spare"], [0.0])
    assert second == (["1.3"], [1.0])


@pytest.mark.filterwarnings("ignore:Ranks have different")
def test_rank_without_any_batch_of_unknown_number_pads_with_a_spare_one() -> None:
    first, second = epoch([0, 2], "pad", sized=[False, False])
    assert first == (["spare", "spare"], [0.0, 0.0])
    assert second[1] == [1.0, 1.0]


@pytest.mark.parametrize("policy", ["stop", "pad"])
def test_equal_numbers_change_nothing(policy: UnevenData, recwarn: pytest.WarningsRecorder) -> None:
    assert epoch([3, 3], policy) == [([f"{rank}.{row}" for row in range(3)], [1.0] * 3) for rank in range(2)]
    assert not recwarn.list


def test_one_process_compares_nothing() -> None:
    class Alone:
        world_size = 1

    equal = EqualSteps(Alone(), "pad")  # type: ignore[arg-type]  # has what's asked for
    assert equal.settle(3, is_sized=True) == 3
    assert (equal.pads, equal.ahead) == (False, 0)


def test_user_is_told_once_how_many_batches_ranks_have() -> None:
    def run(rank: Rank) -> None:
        equal = EqualSteps(_Rank(rank), "stop")  # type: ignore[arg-type]  # has what's asked for
        for _ in range(2):
            equal.settle(2 + rank.rank, is_sized=True)

    with pytest.warns(UserWarning, match=r"\(2, 3\): every epoch ends") as told:
        Job(2).run(run)
    assert len(told) == 2  # threads are all rank 0: one for each
