from typing import Any

from torch.utils.data import DataLoader

from lt_fabric.data.loader_copy import copy_loader


class Named(DataLoader[int]):
    """A user's loader whose arguments nobody else knows."""

    def __init__(self, name: str) -> None:
        super().__init__(range(4), 2, num_workers=1, persistent_workers=True)  # type: ignore[arg-type]
        self.name = name


def values(loader: DataLoader[Any]) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def test_copy_differs_in_what_was_replaced_alone() -> None:
    loader = Named("mine")
    copied = copy_loader(loader, batch_sampler=[[3], [0, 1]])
    assert isinstance(copied, Named)
    assert copied.name == "mine"
    assert values(copied) == [[3], [0, 1]]
    assert values(loader) == [[0, 1], [2, 3]]


def test_copy_starts_workers_of_its_own() -> None:
    loader = Named("mine")
    first = iter(loader)
    copied = copy_loader(loader)
    assert iter(copied) is not first
    assert iter(loader) is first
