import pytest

from lt_callbacks.batch_size_search import BatchSizeSearch


class Memory:
    """Holds batches up to a size, and remembers which were tried."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.tried: list[int] = []

    def fits(self, size: int) -> bool:
        self.tried.append(size)
        return size <= self.holds

    def search(self, max_val: int = 8192, max_trials: int = 25) -> BatchSizeSearch:
        return BatchSizeSearch(self.fits, max_val=max_val, max_trials=max_trials)


@pytest.mark.parametrize(
    ("holds", "start", "tried", "found"),
    [
        (20, 2, [2, 4, 8, 16, 32], 16),
        (20, 3, [3, 6, 12, 24], 12),
        (20, 64, [64, 32, 16], 16),
        (1, 2, [2, 1], 1),
        (0, 2, [2, 1], None),
    ],
)
def test_sizes_are_doubled_until_one_does_not_fit(holds: int, start: int, tried: list[int], found: int | None) -> None:
    memory = Memory(holds)
    assert memory.search().by_doubling(start) == found
    assert memory.tried == tried


def test_bisecting_finds_the_largest_that_fits() -> None:
    memory = Memory(20)
    assert memory.search().by_bisecting(2, margin=0) == 20
    assert memory.tried == [2, 4, 8, 16, 32, 24, 20, 22, 21]  # as Lightning 2.6.6 tries them


def test_the_margin_is_left_and_what_is_left_is_tried() -> None:
    memory = Memory(20)
    assert memory.search().by_bisecting(2, margin=0.05) == 19
    assert memory.tried[-1] == 19


def test_bisecting_goes_down_from_a_first_size_that_does_not_fit() -> None:
    assert Memory(20).search().by_bisecting(64, margin=0) == 20
    assert Memory(0).search().by_bisecting(64, margin=0) is None


@pytest.mark.parametrize("max_val", [40, 64, 1])
def test_no_size_above_the_largest_allowed_is_tried(max_val: int) -> None:
    memory = Memory(1000)
    assert memory.search(max_val).by_doubling(2) == max_val
    assert max(memory.tried) == max_val


@pytest.mark.parametrize("holds", [1, 7, 20, 64, 1000])
@pytest.mark.parametrize("start", [1, 2, 3, 50])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_every_size_found_was_tried_and_fits(holds: int, start: int, margin: float) -> None:
    for search in ("doubling", "bisecting"):
        memory = Memory(holds)
        limited = memory.search(100)
        found = limited.by_doubling(start) if search == "doubling" else limited.by_bisecting(start, margin)
        assert found in memory.tried
        assert found is not None
        assert found <= holds


def test_trials_end_after_so_many_sizes_that_fit() -> None:
    memory = Memory(1000)
    assert memory.search(max_trials=3).by_doubling(2) == 8
    assert memory.tried == [2, 4, 8]


def test_a_limit_that_is_learnt_while_trying_holds() -> None:
    memory = Memory(1000)
    search = memory.search()

    def fits(size: int) -> bool:
        search.max_val = 100  # the number of samples, which is known once loaders are there
        return memory.fits(size)

    search.fits = fits
    assert search.by_doubling(2) == 100
    assert memory.tried == [2, 4, 8, 16, 32, 64, 100]


def test_a_smaller_size_that_does_not_fit_is_not_taken() -> None:
    search = BatchSizeSearch(lambda size: size in (2, 4), max_val=4, max_trials=9)
    assert search.by_bisecting(2, margin=0.25) == 4
