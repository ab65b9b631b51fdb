import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_ranks import Job, Rank
from torch import Tensor

from lt_core.logging.reduction import CAPACITY, Entry, reduce_over_ranks
from lt_core.logging.slots import Reduction
from lt_core.logging.values import Number


def reduced(entries: Sequence[Sequence[Entry]], job: Job | None = None) -> list[dict[str, Number]]:
    """Reduce each rank's entries and return what each rank got."""
    job = job or Job(len(entries))
    return job.run(lambda rank: reduce_over_ranks(entries[rank.rank], rank))


def loss(value: Tensor | Number, weight: float = 1.0, reduction: Reduction = "mean", name: str = "loss") -> Entry:
    return Entry(name, value, weight, reduction)


VALUES = st.floats(-1e6, 1e6)
RANKS = st.lists(st.tuples(VALUES, st.integers(1, 1000)), min_size=2, max_size=4)
ALL: tuple[Reduction, ...] = ("mean", "sum", "min", "max")


@settings(max_examples=40)
@given(ranks=RANKS)
def test_every_reduction_is_what_plain_python_gives_on_every_rank(ranks: list[tuple[float, int]]) -> None:
    entries = [[loss(torch.tensor(v, dtype=torch.float64), w, how, how) for how in ALL] for v, w in ranks]
    found = reduced(entries)
    values, sizes = zip(*ranks, strict=True)
    mean = math.fsum(v * w for v, w in ranks) / sum(sizes)
    for numbers in found:
        assert numbers == found[0]
        assert numbers["mean"] == pytest.approx(mean, abs=1e-6)
        assert numbers["sum"] == pytest.approx(math.fsum(values), abs=1e-6)
        assert (numbers["min"], numbers["max"]) == (min(values), max(values))


@settings(max_examples=10)
@given(count=st.integers(0, 2 * CAPACITY + 2))
def test_any_number_of_names_is_reduced(count: int) -> None:
    entries = [[loss(rank + idx, name=f"x{idx}") for idx in range(count)] for rank in range(2)]
    expected = {f"x{idx}": idx + 0.5 for idx in range(count)}
    assert reduced(entries) == [expected, expected]


@pytest.mark.parametrize(("count", "rounds"), [(0, 1), (1, 1), (CAPACITY, 1), (CAPACITY + 1, 2)])
def test_all_names_share_one_collective(count: int, rounds: int) -> None:
    job = Job(2)
    reduced([[loss(1.0, name=str(idx)) for idx in range(count)]] * 2, job)
    assert job.num_gathers == rounds


def test_one_process_needs_no_collective_and_keeps_integers() -> None:
    job = Job(1)
    (numbers,) = reduced([[loss(2**60 + 1), loss(torch.tensor(0.5), name="x")]], job)
    assert numbers == {"loss": 2**60 + 1, "x": 0.5}
    assert job.num_gathers == 0


def test_a_nan_on_one_rank_reaches_all() -> None:
    entries = [[loss(value, reduction=how, name=how) for how in ALL] for value in (1.0, math.nan)]
    for numbers in reduced(entries):
        assert all(math.isnan(numbers[how]) for how in ALL)


DIFFERENT: list[tuple[list[str], list[str]]] = [
    (["a"], ["a", "b"]),
    (["a"], []),
    (["a"], ["b"]),
    ([str(idx) for idx in range(3 * CAPACITY)], ["0"]),
    ([str(idx) for idx in range(CAPACITY + 1)], [str(idx) for idx in range(CAPACITY)]),
    (["a", "b"], ["b", "a"]),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different_names_raise_on_every_rank_instead_of_hanging(first: list[str], second: list[str]) -> None:
    entries = [[loss(1.0, name=name) for name in names] for names in (first, second)]

    def attempt(rank: Rank) -> str:
        with pytest.raises(RuntimeError, match="Ranks logged different names") as raised:
            reduce_over_ranks(entries[rank.rank], rank)
        return str(raised.value)

    messages = Job(2).run(attempt)
    assert messages[0] == messages[1]


def test_the_message_names_keys_and_ranks() -> None:
    names = [["loss", "mine"], ["loss"], ["loss", "mine"]]

    def attempt(rank: Rank) -> None:
        with pytest.raises(RuntimeError, match=r"`mine` only on ranks \[0, 2\]"):
            reduce_over_ranks([loss(1.0, name=name) for name in names[rank.rank]], rank)

    Job(3).run(attempt)


def test_a_sum_counts_each_sample_once_where_several_ranks_have_it() -> None:
    def on_rank(rank: Rank) -> dict[str, Number]:
        rank.distributed_sampler_kwargs = {"num_replicas": 2, "rank": rank.rank // 2}
        return reduce_over_ranks([loss(10.0 + rank.rank // 2, 1, how, how) for how in ALL], rank)

    for numbers in Job(4).run(on_rank):
        assert numbers == {"mean": 10.5, "sum": 21.0, "min": 10.0, "max": 11.0}
