"""A copy of a checkpoint that later changes of the original don't reach."""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lt_interfaces.torch_file import is_dtensor

_DICTS = (dict, OrderedDict, defaultdict)


def snapshot(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a checkpoint in CPU memory: one copy of each tensor storage, deep copies of everything else.

    Tensors that share storage share it in the copy, so that a file of the copy is no larger than one of the original;
    like `torch.save`, it takes the whole storage of a tensor that shows a part of it. Of a DTensor this rank's part is
    copied, and the copy is a DTensor.

    >>> weight = torch.ones(2)
    >>> taken = snapshot({"weight": weight, "tied": weight})
    >>> _ = weight.zero_()
    >>> taken
    {'weight': tensor([1., 1.]), 'tied': tensor([1., 1.])}
    >>> taken["weight"] is taken["tied"]
    True
    """
    copier = _Copier()
    return {key: copier.of(value) for key, value in checkpoint.items()}


class _Copier:
    """Copies what one checkpoint holds, each object and each storage once."""

    def __init__(self) -> None:
        self._memo: dict[int, Any] = {}
        self._storages: dict[tuple[torch.device, int], torch.UntypedStorage] = {}
        # An id names an object only as long as it lives.
        self._seen: list[Any] = []

    def of(self, value: Any) -> Any:
        """Return the copy of a value."""
        if id(value) in self._memo:
            return self._memo[id(value)]
        if isinstance(value, Tensor):
            return self._remember(value, self._tensor(value))
        if type(value) in _DICTS:
            return self._dict(value)
        if type(value) is list:
            copied: list[Any] = self._remember(value, [])
            copied.extend(self.of(item) for item in value)
            return copied
        if type(value) is tuple:
            return self._remember(value, tuple(self.of(item) for item in value))
        return copy.deepcopy(value, self._memo)

    def _dict(self, value: Any) -> Any:
        copied = self._remember(value, copy.copy(value))
        for key, item in value.items():
            copied[key] = self.of(item)
        for name, attribute in getattr(value, "__dict__", {}).items():  # `state_dict()` has `_metadata`
            setattr(copied, name, self.of(attribute))
        return copied

    def _tensor(self, tensor: Tensor) -> Tensor:
        if is_dtensor(tensor):
            return self._dtensor(tensor)
        if not _is_plain(tensor):
            return copy.deepcopy(tensor.detach().cpu(), self._memo)
        copied = torch.empty(0, dtype=tensor.dtype)
        copied.set_(self._storage(tensor), tensor.storage_offset(), tensor.size(), tensor.stride())
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(copied, tensor.requires_grad)
        return copied.requires_grad_(tensor.requires_grad)

    def _dtensor(self, tensor: Any) -> Tensor:
        """Copy what this rank holds; nothing is gathered, and what the others hold stays known."""
        local = self._tensor(tensor.detach().to_local())
        # Its own constructor, which hasn't moved the local part to the mesh's device yet, as `from_local` does.
        copied: Tensor = type(tensor)(local, tensor._spec, requires_grad=tensor.requires_grad)
        return copied

    def _storage(self, tensor: Tensor) -> torch.UntypedStorage:
        storage = tensor.untyped_storage()
        place = (storage.device, storage.data_ptr())
        if place not in self._storages:
            copied = torch.UntypedStorage(storage.nbytes())  # type: ignore[no-untyped-call]  # torch's
            self._storages[place] = copied.copy_(storage)
        return self._storages[place]

    def _remember(self, value: Any, copied: Any) -> Any:
        self._memo[id(value)] = copied
        self._seen.append(value)
        return copied


def _is_plain(tensor: Tensor) -> bool:
    """Say whether a tensor is a view of a storage and nothing more."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and tensor.untyped_storage().nbytes() > 0
    )
