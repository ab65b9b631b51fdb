import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from lt_interfaces.moving import TransferableDataType, move_data_to_device

META = torch.device("meta")
CPU = torch.device("cpu")
Pair = namedtuple("Pair", ["x", "y"])


@dataclass
class Sample:
    image: torch.Tensor
    label: int


class InPlace:
    def __init__(self) -> None:
        self.device: object = None

    def to(self, device: torch.device) -> None:
        self.device = device


def test_every_tensor_of_a_nested_batch_moves() -> None:
    batch = OrderedDict(a=[torch.zeros(1), (torch.ones(2), "text")], b=Pair(torch.zeros(3), 7), c=None)
    moved = move_data_to_device(batch, META)
    assert type(moved) is OrderedDict
    assert moved["a"][0].device == moved["a"][1][0].device == moved["b"].x.device == META
    assert (moved["a"][1][1], moved["b"].y, moved["c"]) == ("text", 7, None)
    assert type(moved["b"]) is Pair
    assert batch["b"].x.device == CPU  # type: ignore[union-attr]


def test_dataclasses_are_copied_with_their_tensors_moved() -> None:
    sample = Sample(torch.zeros(1), 3)
    moved = move_data_to_device(sample, "meta")
    assert (moved.image.device, moved.label) == (META, 3)
    assert sample.image.device == CPU


def test_objects_with_to_move_themselves() -> None:
    in_place = InPlace()
    packed = pack_sequence([torch.zeros(2), torch.zeros(1)])
    moved = move_data_to_device([in_place, packed], META)
    assert moved[0] is in_place
    assert in_place.device == META
    assert isinstance(moved[1], PackedSequence)
    assert moved[1].data.device == META


@pytest.mark.parametrize("batch", [torch.zeros(1), [torch.zeros(1)] * 2, (torch.zeros(1),), {"x": torch.zeros(1)}, []])
def test_data_already_there_is_the_very_same_object(batch: Any) -> None:
    assert move_data_to_device(batch, CPU) is batch


def test_one_item_elsewhere_moves_the_batch() -> None:
    moved = move_data_to_device([torch.zeros(1, device="meta"), torch.zeros(1)], META)
    assert [item.device for item in moved] == [META, META]


def test_data_already_there_costs_two_calls_of_ours() -> None:
    batch = {"x": torch.zeros(1), "y": torch.zeros(1)}
    calls: list[str] = []

    def note(frame: Any, event: str, _argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(note)
    move_data_to_device(batch, CPU)
    sys.setprofile(None)
    assert calls == ["move_data_to_device", "_is_there"]


def test_transferable_means_having_a_to_method() -> None:
    assert isinstance(torch.nn.Linear(1, 1), TransferableDataType)
    assert not isinstance("text", TransferableDataType)
