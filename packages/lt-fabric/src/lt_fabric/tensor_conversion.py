"""Nested data between tensors and plain numbers."""

from functools import partial
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lt_interfaces.moving import move_data_to_device


def convert_to_tensors(data: Any, device: torch.device | str | int) -> Any:
    """Return nested data on a device, with its numbers and NumPy arrays as tensors.

    Truth values become uint8, whole numbers int32, others float32, each of shape ``()``; arrays keep their type.
    Everything else, for instance text, stays as it is.

    >>> convert_to_tensors({"x": [1, 2.5], "name": "a"}, "cpu")
    {'x': [tensor(1, dtype=torch.int32), tensor(2.5000)], 'name': 'a'}
    """
    # One type after the other: a truth value is a whole number, too, for Python.
    for kind, dtype in ((bool, torch.uint8), (int, torch.int32), (float, torch.float32)):
        data = apply_to_collection(data, kind, partial(torch.tensor, dtype=dtype))
    return move_data_to_device(_without_arrays(data), device)


def convert_tensors_to_scalars(data: Any) -> Any:
    """Return nested data with each tensor as the Python number that it holds.

    Raises:
        ValueError: a tensor has more than one element, or none.

    >>> convert_tensors_to_scalars({"loss": torch.tensor([0.5]), "name": "a"})
    {'loss': 0.5, 'name': 'a'}
    """
    return apply_to_collection(data, Tensor, _number)


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """Return nested data with every tensor off its graph, with ``to_cpu`` on the CPU.

    >>> recursive_detach([torch.zeros(1, requires_grad=True)])[0].requires_grad
    False
    """

    def detached(tensor: Tensor) -> Tensor:
        return tensor.detach().cpu() if to_cpu else tensor.detach()

    return apply_to_collection(in_dict, Tensor, detached)


def _number(tensor: Tensor) -> Any:
    if tensor.numel() != 1:
        message = f"Only a tensor of one element is a number, not one of shape {tuple(tensor.shape)}. Reduce it first."
        raise ValueError(message)
    return tensor.item()


def _without_arrays(data: Any) -> Any:
    try:
        # Deferred: numpy is optional.
        import numpy as np
    except ModuleNotFoundError:
        return data
    return apply_to_collection(data, np.ndarray, torch.from_numpy)
