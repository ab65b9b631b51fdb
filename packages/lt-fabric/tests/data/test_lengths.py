from collections.abc import Iterator
from math import inf

import pytest
from torch.utils.data import DataLoader, IterableDataset

from lt_fabric.data import has_iterable_dataset, num_batches, sized_len
from lt_interfaces.errors import MisconfigurationException


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class SizedStream(Stream):
    def __len__(self) -> int:
        return 3


def test_sized_loader_tells_its_length() -> None:
    assert sized_len(DataLoader(range(5), batch_size=2)) == 3  # type: ignore[arg-type]
    assert sized_len(DataLoader(SizedStream(), batch_size=2)) == 2


def test_loader_that_cannot_tell_is_unsized() -> None:
    assert sized_len(DataLoader(Stream())) is None
    assert sized_len(iter([])) is None


def test_error_inside_len_is_not_hidden() -> None:
    class Broken:
        def __len__(self) -> int:
            message = "index file gone"
            raise OSError(message)

    with pytest.raises(OSError, match="index file gone"):
        sized_len(Broken())


def test_iterable_dataset_is_recognised() -> None:
    assert has_iterable_dataset(DataLoader(Stream()))
    assert not has_iterable_dataset(DataLoader(range(5)))  # type: ignore[arg-type]
    assert not has_iterable_dataset([1, 2])


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 10), (1.0, 10), (1, 1), (0, 0), (3, 3), (25, 10), (inf, 10), (0.25, 2), (0.0, 0), (0.99, 9)],
)
def test_limit_of_a_sized_loader(limit: float | None, expected: int) -> None:
    assert num_batches(range(10), limit, stage="train") == expected


@pytest.mark.parametrize(("limit", "expected"), [(None, inf), (1.0, inf), (inf, inf), (7, 7), (0, 0), (0.0, 0)])
def test_limit_of_an_unsized_loader(limit: float | None, expected: float) -> None:
    assert num_batches(DataLoader(Stream()), limit, stage="train") == expected


def test_fraction_of_an_unsized_loader_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"`limit_val_batches=0.5`.*no length"):
        num_batches(DataLoader(Stream()), 0.5, stage="val")


def test_fraction_that_leaves_nothing_is_refused_with_the_smallest_that_does_not() -> None:
    with pytest.raises(MisconfigurationException, match=r"`limit_test_batches=0.05`.*at least 0.1,"):
        num_batches(range(10), 0.05, stage="test")
    assert num_batches(range(10), 0.1, stage="test") == 1


def test_fraction_of_an_empty_loader_is_zero() -> None:
    assert num_batches([], 0.5, stage="train") == 0
