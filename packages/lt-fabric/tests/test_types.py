"""The protocols recognise what users pass."""

from pathlib import Path
from typing import Optional

import torch
from torch import nn

from lt_fabric import types


class Group:
    def size(self) -> int:
        return 1

    def rank(self) -> int:
        return 0


def test_optimizers_are_optimizable_and_schedulers_are_stateful() -> None:
    optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert isinstance(optimizer, types.Optimizable)
    assert isinstance(optimizer, types.Steppable)
    assert isinstance(scheduler, types.Stateful)
    assert isinstance(scheduler, types.Steppable)
    assert not isinstance(scheduler, types.Optimizable)
    assert not isinstance(object(), types.Stateful)


def test_a_group_is_recognised_by_size_and_rank() -> None:
    assert isinstance(Group(), types.CollectibleGroup)
    assert not isinstance(object(), types.CollectibleGroup)


def test_aliases_can_be_used_in_annotations() -> None:
    def load(path: types.PATH, map_location: Optional[types.MAP_LOCATION_TYPE] = None) -> types.DEVICE:  # noqa: UP045
        return "cpu"

    assert load(Path("file")) == "cpu"
    assert types.ReduceOp.SUM is torch.distributed.ReduceOp.SUM
