import warnings
from collections import UserDict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from lt_fabric.data import batch_size, extract_batch_size
from lt_interfaces.errors import MisconfigurationException

Pair = namedtuple("Pair", ["x", "y"])


@dataclass
class Sample:
    image: torch.Tensor
    name: str = "digit"


@pytest.fixture(autouse=True)
def nothing_said_yet() -> Iterator[None]:
    batch_size._said.clear()
    yield
    batch_size._said.clear()


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(4, 2),
        [torch.zeros(4, 2), torch.zeros(4)],
        (torch.zeros(4),),
        {"x": torch.zeros(4, 2), "y": torch.zeros(4)},
        {"x": torch.zeros(4, 2), "scale": torch.tensor(2.0)},
        {"x": torch.zeros(4, 2), "names": ["a", "b", "c"], "step": 3},
        {"x": {"ids": [torch.zeros(4, 9)]}, "y": torch.zeros(4)},
        Pair(torch.zeros(4), torch.zeros(4)),
        Sample(torch.zeros(4, 2)),
        [Sample(torch.zeros(4, 2)), None],
        UserDict(x=torch.zeros(4, 2)),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_size_is_the_leading_dimension(batch: object) -> None:
    assert extract_batch_size(batch) == 4


@pytest.mark.parametrize("batch", [torch.tensor(1.0), [torch.tensor(1.0)], {"a": {"b": torch.tensor(1.0)}}])
def test_tensors_without_dimensions_count_as_one_sample(batch: object) -> None:
    assert extract_batch_size(batch) == 1


def test_size_most_tensors_agree_on_wins_over_the_first_one() -> None:
    batch = {"sequence": torch.zeros(16, 4, 8), "labels": torch.zeros(4), "lengths": torch.zeros(4)}
    with pytest.warns(UserWarning, match=r"\[4, 16\]; 4 is taken.*`batch_size`"):
        assert extract_batch_size(batch) == 4


def test_draw_goes_to_the_first_tensor() -> None:
    with pytest.warns(UserWarning, match="different leading dimensions"):
        assert extract_batch_size([torch.zeros(3), torch.zeros(2)]) == 3


def test_ambiguity_is_said_once() -> None:
    with pytest.warns(UserWarning, match="different leading dimensions"):
        extract_batch_size([torch.zeros(3), torch.zeros(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract_batch_size([torch.zeros(5), torch.zeros(2)])


@pytest.mark.parametrize("batch", [None, [], "text", ["a", "b"], {"x": 3}, 1.5])
def test_batch_without_tensors_is_refused(batch: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"holds no tensor.*`batch_size`"):
        extract_batch_size(batch)
