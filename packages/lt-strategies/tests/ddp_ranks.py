"""Strategies for the ranks of a test, in a module that their processes import by name."""

from typing import Any

import torch

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Assembly
from lt_strategies.ddp import DDPStrategy


def connected(num_ranks: int = 2, **arguments: Any) -> DDPStrategy:
    """Return a DDPStrategy on the CPU, ready to set up modules."""
    strategy = DDPStrategy(**arguments)
    devices = [torch.device("cpu")] * num_ranks
    strategy.connect(Assembly(CPUAccelerator(), devices, 1, LocalEnvironment(), FullPrecision()))
    strategy.setup_environment()
    return strategy
