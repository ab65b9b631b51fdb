import gc
from collections.abc import Callable, Iterator
from itertools import count, repeat, zip_longest
from math import inf
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from lt_fabric.data import CombinedLoader

SIZES = st.lists(st.integers(0, 6), min_size=1, max_size=4)
LIMITS = st.one_of(st.integers(0, 7), st.just(inf))


class Counting:
    """Loader over range(length) that counts how often it was started and how often it reached its end."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.starts = 0
        self.ends = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        self.starts += 1
        yield from range(self.length)
        self.ends += 1


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def model(mode: str, data: list[list[Any]]) -> list[tuple[Any, int, int]]:
    """The modes in the plainest words: lists, indices and modulo."""
    if mode == "sequential":
        return [(batch, batch_idx, loader) for loader, part in enumerate(data) for batch_idx, batch in enumerate(part)]
    if mode == "min_size":
        rows = [list(row) for row in zip(*data, strict=False)]
    elif mode == "max_size":
        rows = [list(row) for row in zip_longest(*data)]
    else:
        rows = [[part[i % len(part)] for part in data] for i in range(max(map(len, data)))]
    return [(row, batch_idx, 0) for batch_idx, row in enumerate(rows)]


@st.composite
def loaders_with_limits(draw: st.DrawFn, min_size: int = 0) -> tuple[list[list[str]], list[float] | None]:
    sizes = draw(st.lists(st.integers(min_size, 6), min_size=1, max_size=4))
    data = [[f"{name}{i}" for i in range(size)] for name, size in zip("abcd", sizes, strict=False)]
    limits = draw(st.none() | st.lists(LIMITS.filter(lambda n: n >= min_size), min_size=len(data), max_size=len(data)))
    return data, limits


def combined(mode: str, data: list[list[str]], limits: list[float] | None) -> CombinedLoader:
    # Lists are nests to the loader, so each is given as a loader of its own.
    loader = CombinedLoader([DataLoader(part, batch_size=None) for part in data], mode)  # type: ignore[arg-type]
    loader.limits = limits
    return loader


def limited(data: list[list[str]], limits: list[float] | None) -> list[list[str]]:
    if limits is None:
        return data
    return [part if limit == inf else part[: int(limit)] for part, limit in zip(data, limits, strict=True)]


@pytest.mark.parametrize("mode", ["min_size", "max_size", "sequential"])
@given(case=loaders_with_limits())
def test_yields_what_the_plain_model_of_the_mode_yields(mode: str, case: tuple[list[list[str]], list[float]]) -> None:
    assert list(combined(mode, *case)) == model(mode, limited(*case))


@given(case=loaders_with_limits(min_size=1))
def test_max_size_cycle_yields_what_the_plain_model_yields(case: tuple[list[list[str]], list[float]]) -> None:
    assert list(combined("max_size_cycle", *case)) == model("max_size_cycle", limited(*case))


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
@given(case=loaders_with_limits(min_size=1))
def test_length_is_the_number_of_steps(mode: str, case: tuple[list[list[str]], list[float]]) -> None:
    loader = combined(mode, *case)
    assert loader.num_batches == len(list(loader)) == len(loader)


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
def test_second_pass_starts_from_the_first_batch(mode: str) -> None:
    loader = CombinedLoader([Counting(2), Counting(3)], mode)
    assert list(loader) == list(loader)


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
def test_single_loader_gives_its_own_batches(mode: str) -> None:
    assert list(CombinedLoader(Counting(2), mode)) == [(0, 0, 0), (1, 1, 0)]


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
def test_no_loaders_give_no_batches(mode: str) -> None:
    loader = CombinedLoader([], mode)
    assert list(loader) == []
    assert len(loader) == 0


def test_batches_come_in_the_nest_of_the_loaders() -> None:
    loader = CombinedLoader({"a": Counting(1), "b": [Counting(1), (Counting(1),)]})
    assert [batch for batch, _, _ in loader] == [{"a": 0, "b": [0, (0,)]}]


def test_loader_in_a_list_gives_batches_in_a_list() -> None:
    assert next(iter(CombinedLoader([Counting(1)], "max_size_cycle"))) == ([0], 0, 0)


def test_cycling_restarts_only_the_shorter_loaders() -> None:
    short, long, equal = Counting(2), Counting(4), Counting(4)
    list(CombinedLoader([short, long, equal], "max_size_cycle"))
    assert (short.starts, long.starts, equal.starts) == (2, 1, 1)


def test_cycling_a_loader_that_cannot_start_again_is_refused() -> None:
    loader = CombinedLoader([iter(range(1)), Counting(3)], "max_size_cycle")
    with pytest.raises(ValueError, match=r"Loader 0 .* no batch when it was started again"):
        list(loader)


def test_all_workers_start_at_iter() -> None:
    class Eager(Counting):
        def __iter__(self) -> Iterator[int]:
            self.starts += 1
            return iter(range(self.length))

    for mode in ("min_size", "max_size_cycle", "max_size"):
        loaders = [Eager(2), Eager(2)]
        iter(CombinedLoader(loaders, mode))
        assert [loader.starts for loader in loaders] == [1, 1]


def test_sequential_starts_a_loader_when_its_turn_comes() -> None:
    first, second = Counting(2), Counting(2)
    steps = iter(CombinedLoader([first, second], "sequential"))
    next(steps)
    assert (first.starts, second.starts) == (1, 0)


def test_unlimited_loader_reaches_its_own_end() -> None:
    loader = Counting(3)
    list(CombinedLoader(loader, "max_size_cycle"))
    assert loader.ends == 1


def test_limit_equal_to_the_length_lets_the_loader_reach_its_own_end() -> None:
    loader = Counting(3)
    combined_loader = CombinedLoader(loader, "max_size_cycle")
    combined_loader.limits = 3
    list(combined_loader)
    assert loader.ends == 1


def test_limit_reads_nothing_beyond_it() -> None:
    numbers = count()
    loader = CombinedLoader(numbers, "sequential")
    loader.limits = 2
    list(loader)
    assert next(numbers) == 2


def test_one_limit_applies_to_every_loader() -> None:
    loader = CombinedLoader([Counting(5), Counting(2)], "sequential")
    loader.limits = 3
    assert loader.limits == [3, 3]
    assert len(list(loader)) == 5


@pytest.mark.parametrize("limits", [-1, 0.5, float("nan"), [1, -2], [1], [1, 2, 3]])
def test_wrong_limits_are_refused(limits: Any) -> None:
    loader = CombinedLoader([Counting(5), Counting(2)])
    with pytest.raises(ValueError, match="`limits`"):
        loader.limits = limits


def test_unknown_mode_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"`mode='max_size_cycel'`.*Did you mean `max_size_cycle`"):
        CombinedLoader([], "max_size_cycel")


def test_length_before_iter_is_refused() -> None:
    loader = CombinedLoader(Counting(3))
    with pytest.raises(RuntimeError, match="after `iter"):
        len(loader)
    iter(loader)
    assert len(loader) == 3
    loader.reset()
    with pytest.raises(RuntimeError, match="after `iter"):
        len(loader)


def test_length_of_an_unsized_loader_is_unknown_unless_limited() -> None:
    loader = CombinedLoader(DataLoader(Stream()), "max_size_cycle")
    iter(loader)
    with pytest.raises(TypeError, match="without length"):
        len(loader)
    assert (loader.num_batches, loader.is_sized) == (inf, False)
    loader.limits = 2
    assert (loader.num_batches, loader.is_sized) == (2, False)


def test_min_size_knows_its_length_beside_an_endless_loader() -> None:
    loader = CombinedLoader([count(), Counting(2)], "min_size")
    iter(loader)
    assert len(loader) == 2


def test_flattened_can_be_replaced() -> None:
    loader = CombinedLoader({"a": Counting(1), "b": Counting(2)})
    replacement = [Counting(3), Counting(4)]
    loader.flattened = replacement
    assert loader.iterables == {"a": replacement[0], "b": replacement[1]}
    with pytest.raises(ValueError, match="`flattened` needs 2 loaders"):
        loader.flattened = [Counting(1)]


def test_samplers_come_in_the_nest_of_the_loaders() -> None:
    shuffled: DataLoader[int] = DataLoader(range(4), shuffle=True)  # type: ignore[arg-type]
    plain: DataLoader[int] = DataLoader(range(4))  # type: ignore[arg-type]
    loader = CombinedLoader({"a": shuffled, "b": [plain, Counting(2)]})
    assert isinstance(loader.sampler["a"], RandomSampler)
    assert isinstance(loader.sampler["b"][0], SequentialSampler)
    assert loader.sampler["b"][1] is None
    assert loader.batch_sampler == {"a": shuffled.batch_sampler, "b": [plain.batch_sampler, None]}


def openers_after(row: int, mode: str, data: list[list[str]]) -> list[Callable[[], Iterator[str]]]:
    """Give what's left of the pass over each loader, and whole passes after it."""

    def passes(part: list[str]) -> Iterator[Iterator[str]]:
        stands_at = (row - 1) % len(part) + 1 if mode == "max_size_cycle" and row else row
        yield iter(part[stands_at:])
        yield from map(iter, repeat(part))

    return [passes(part).__next__ for part in data]


@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
@given(case=loaders_with_limits(min_size=1), row=st.integers(0, 7))
def test_passes_that_are_under_way_give_the_rest(mode: str, case: tuple[list[list[str]], Any], row: int) -> None:
    data, _ = case
    ended = {place for place, part in enumerate(data) if len(part) < row}
    rest = combined(mode, data, None).iterate(openers_after(row, mode, data), row=row, ended=ended)
    assert list(rest) == model(mode, data)[row:]


def test_loader_that_has_ended_is_opened_no_more() -> None:
    short, long = Counting(1), Counting(4)
    openers: list[Any] = [short.__iter__, lambda: iter(range(3, 4))]
    steps = CombinedLoader([short, long], "max_size").iterate(openers, row=3, ended={0})
    assert list(steps) == [([None, 3], 3, 0)]
    assert short.starts == 0


@pytest.mark.parametrize(("loaders", "is_single"), [(Counting(1), True), ([Counting(1)], False), ([], False)])
def test_one_loader_in_no_nest_is_single(loaders: Any, is_single: bool) -> None:
    assert CombinedLoader(loaders).is_single == is_single


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size", "sequential"])
def test_exception_in_a_loader_comes_out_unchanged(mode: str) -> None:
    error = OSError("disk gone")

    def failing() -> Iterator[int]:
        yield 0
        raise error

    steps = iter(CombinedLoader([failing(), Counting(5)], mode))
    next(steps)
    with pytest.raises(OSError, match="disk gone") as caught:
        list(steps)
    assert caught.value is error


def test_leaving_early_releases_the_loaders() -> None:
    closed = []

    def loader() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(True)

    for _ in CombinedLoader([loader()], "max_size_cycle"):
        break
    gc.collect()
    assert closed == [True]


def test_dataloader_order_is_that_of_the_loader_alone() -> None:
    def loader() -> DataLoader[int]:
        return DataLoader(range(20), batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]

    through = [batch.tolist() for batch, _, _ in CombinedLoader(loader(), "max_size_cycle")]
    assert through == [batch.tolist() for batch in loader()]
