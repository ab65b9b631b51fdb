"""Strategies that break promises of several ranks, in a module that their processes import by name."""

import os
from typing import Any

import torch
from torch import Tensor
from toy_parts import ToyAccelerator, ToyEnvironment, ToyPrecision, ToyStrategy

from lt_interfaces import Assembly, Strategy


class Lonely(ToyStrategy):
    """Knows its rank, and gives back everything as if it were alone."""

    global_rank = local_rank = property(lambda self: int(os.environ["LOCAL_RANK"]))
    is_global_zero = property(lambda self: self.global_rank == 0)
    world_size = property(lambda self: int(os.environ["WORLD_SIZE"]))

    def reduce(self, tensor: Tensor, *, op: str = "mean", group: Any = None) -> Tensor:
        return tensor


def lonely() -> Strategy:
    """Return such a strategy, ready for use."""
    strategy = Lonely()
    strategy.connect(Assembly(ToyAccelerator(), [torch.device("cpu")] * 2, 1, ToyEnvironment(), ToyPrecision()))
    strategy.setup_environment()
    return strategy
