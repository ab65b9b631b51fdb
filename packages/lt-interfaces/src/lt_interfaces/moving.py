"""Moving nested batches to a device."""

from abc import ABC
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

# Copies to these devices must be complete before the CPU reads the result, so they are never asked to be asynchronous.
_BLOCKING_DEVICE_TYPES = ("cpu", "mps")


class TransferableDataType(ABC):  # noqa: B024 (recognises classes, is never subclassed)
    """Anything with a ``to`` method that takes a device: tensors, modules, packed sequences, tokenizer outputs.

    Use it in `isinstance`; nothing subclasses it.

    >>> isinstance(torch.zeros(1), TransferableDataType), isinstance([1], TransferableDataType)
    (True, False)
    """

    @classmethod
    def __subclasshook__(cls, subclass: type) -> bool:
        """Recognise a class by its ``to`` method."""
        return callable(getattr(subclass, "to", None))


def move_data_to_device(batch: Any, device: torch.device | str | int) -> Any:
    """Move every tensor in a batch, however nested, to a device.

    Lists, tuples, named tuples, mappings and dataclasses are walked; objects with their own ``to`` are asked to move
    themselves; everything else stays as it is. Containers are rebuilt, except that a tensor, or a flat list, tuple or
    dict of tensors, that is on the device already comes back as the very same object. Copies to accelerators
    are asynchronous where the source is pinned.

    Args:
        batch: the data; read, never changed.
        device: the target; the check for "already there" needs the index (``cuda:0``), as strategies give it.

    >>> move_data_to_device({"x": [torch.zeros(2)], "name": "a"}, "meta")["x"][0].device
    device(type='meta')
    """
    if type(batch) is Tensor and batch.device == device:
        return batch
    target = device if isinstance(device, torch.device) else torch.device(device)
    if _is_there(batch, target):
        return batch
    return apply_to_collection(batch, TransferableDataType, _move, target)


def _is_there(batch: Any, target: torch.device) -> bool:
    if isinstance(batch, Tensor):
        return batch.device == target
    kind = type(batch)
    if kind is list or kind is tuple:
        items = batch
    elif kind is dict:
        items = batch.values()
    else:
        return False
    for item in items:  # noqa: SIM110 (a generator would double the cost of every step's check)
        if not isinstance(item, Tensor) or item.device != target:
            return False
    return True


def _move(data: Any, target: torch.device) -> Any:
    if isinstance(data, Tensor):
        return data.to(target, non_blocking=target.type not in _BLOCKING_DEVICE_TYPES)
    moved = data.to(target)
    # Some batch types move in place and return nothing.
    return data if moved is None else moved
