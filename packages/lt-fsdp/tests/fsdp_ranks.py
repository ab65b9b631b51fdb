"""Strategies for the ranks of a test, in a module that their processes import by name."""

from typing import Any

import torch

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_fsdp import FSDPStrategy
from lt_interfaces import Assembly


def connected(num_ranks: int = 2, **arguments: Any) -> FSDPStrategy:
    """Return an FSDPStrategy on the CPU, ready to set up modules."""
    strategy = FSDPStrategy(**arguments)
    devices = [torch.device("cpu")] * num_ranks
    strategy.connect(Assembly(CPUAccelerator(), devices, 1, LocalEnvironment(), FullPrecision()))
    strategy.setup_environment()
    return strategy
