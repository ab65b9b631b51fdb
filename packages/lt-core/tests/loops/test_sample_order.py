from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lt_core.loops.sample_order import in_sample_order, interleaved
from lt_interfaces.errors import MisconfigurationException

Pair = namedtuple("Pair", ["first", "second"])
Predict = Callable[[list[int]], Any]


def batched(samples: list[int], size: int) -> list[list[int]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def gathered(predict: Predict, num_samples: int, *, world: int, size: int) -> list[Any]:
    """Let each rank predict its share of the samples, and bring the outputs together."""
    shares = [batched(list(range(rank, num_samples, world)), size) for rank in range(world)]
    outputs = [[predict(batch) for batch in share] for share in shares]
    return in_sample_order(outputs, [[len(batch) for batch in share] for share in shares], size)


def plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def rows(batch: list[int]) -> Tensor:
    return torch.tensor(batch, dtype=torch.float32).reshape(-1, 1).expand(-1, 3)


KINDS: dict[str, Predict] = {
    "tensor": torch.tensor,
    "rows": rows,
    "dict": lambda batch: {"x": torch.tensor(batch), "deep": {"y": rows(batch), "text": [str(s) for s in batch]}},
    "tuple": lambda batch: (torch.tensor(batch), [str(sample) for sample in batch]),
    "named": lambda batch: Pair(torch.tensor(batch), rows(batch)),
    "list of tensors": lambda batch: [torch.tensor(batch), rows(batch), rows(batch)],
    "item per sample": lambda batch: [f"sample {sample}" for sample in batch],
    "dict per sample": lambda batch: [{"boxes": torch.full((sample + 5, 4), sample)} for sample in batch],
    "nothing": lambda batch: None,
}


@pytest.mark.parametrize("kind", KINDS)
@given(num_samples=st.integers(0, 20), world=st.integers(1, 4), size=st.integers(1, 5))
def test_all_ranks_together_give_what_one_process_gives(kind: str, num_samples: int, world: int, size: int) -> None:
    alone = [KINDS[kind](batch) for batch in batched(list(range(num_samples)), size)]
    assert plain(gathered(KINDS[kind], num_samples, world=world, size=size)) == plain(alone)


def test_containers_and_formats_are_kept() -> None:
    (first, _) = gathered(
        lambda batch: Pair(torch.tensor(batch, dtype=torch.int8), [1.5] * len(batch)), 3, world=2, size=2
    )
    assert isinstance(first, Pair)
    assert first.first.dtype is torch.int8
    assert first.second == [1.5, 1.5]


def test_batches_share_no_memory() -> None:
    first, second = gathered(torch.tensor, 4, world=2, size=2)
    first.zero_()
    assert second.tolist() == [2, 3]


@given(num_samples=st.integers(0, 12), world=st.integers(1, 4))
def test_outputs_of_single_samples_are_interleaved(num_samples: int, world: int) -> None:
    outputs = [[f"sample {sample}" for sample in range(rank, num_samples, world)] for rank in range(world)]
    assert interleaved(outputs) == [f"sample {sample}" for sample in range(num_samples)]


REFUSED: dict[str, tuple[Predict, str]] = {
    "mean of the batch": (
        lambda batch: torch.tensor(1.0),
        r"the output of `predict_step` of a batch of 3 has the shape",
    ),
    "too few": (lambda batch: {"x": torch.zeros(1)}, r"the output\['x'\].* has the shape \(1,\)"),
    "number": (lambda batch: 3.5, r"the output of `predict_step` is of type float"),
    "padded per batch": (lambda batch: torch.zeros(len(batch), max(batch)), "has another shape or format"),
    "other keys": (lambda batch: {str(len(batch)): torch.tensor(batch)}, "has other keys in another batch"),
    "other lengths": (lambda batch: (torch.tensor(batch),) * len(batch), "has another length in another batch"),
    "sometimes nothing": (lambda batch: torch.tensor(batch) if len(batch) == 3 else None, "of type NoneType, Tensor"),
    "items for nobody": (lambda batch: (torch.tensor(batch), ["a", "b", "c", "d"]), r"the output\[1\].* is a list of"),
    "mixed list": (lambda batch: [1, "b", 2.0][: len(batch)], "is a list of neither one item of one type per sample"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_outputs_without_an_entry_per_sample_are_refused_by_name(what: str) -> None:
    predict, message = REFUSED[what]
    with pytest.raises(MisconfigurationException, match=message) as raised:
        gathered(predict, 11, world=2, size=3)
    assert "`predict(gather=True)`" in str(raised.value)
