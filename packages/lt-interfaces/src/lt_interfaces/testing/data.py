"""Small data sets that are the same every time."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset


class RandomDataset(Dataset[Tensor]):
    """``length`` rows of ``size`` normally distributed numbers.

    >>> RandomDataset(3, 10)[0].shape, len(RandomDataset(3, 10))
    (torch.Size([3]), 10)
    """

    def __init__(self, size: int, length: int, *, seed: int = 0) -> None:
        self.rows = _rows(size, length, seed)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)


class RandomIterableDataset(IterableDataset[Tensor]):
    """The rows of `RandomDataset`, one after the other, without a length."""

    def __init__(self, size: int, count: int, *, seed: int = 0) -> None:
        self.rows = _rows(size, count, seed)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.rows)


class RegressionDataset(Dataset[tuple[Tensor, Tensor]]):
    """Rows with the target that `lt_interfaces.testing.TinyRegressor` can learn: their sum's sine.

    >>> [part.shape for part in RegressionDataset(3, 10)[0]]
    [torch.Size([3]), torch.Size([1])]
    """

    def __init__(self, size: int = 4, length: int = 16, *, seed: int = 0) -> None:
        self.rows = _rows(size, length, seed)
        self.targets = torch.sin(self.rows.sum(dim=1, keepdim=True))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.rows[index], self.targets[index]

    def __len__(self) -> int:
        return len(self.rows)


def _rows(size: int, count: int, seed: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
