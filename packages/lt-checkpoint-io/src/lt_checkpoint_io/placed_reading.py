"""Reading the tensors of a sharded folder into those that are there already, however these are sharded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.planner_helpers import _create_read_items
from torch.distributed.checkpoint.utils import find_state_dict_object
from torch.distributed.tensor import DTensor

from lt_checkpoint_io.sharded_folder import ShardedFolder
from lt_checkpoint_io.stored_tensor import MemoryReturn
from lt_checkpoint_io.tensor_tree import Place
from lt_interfaces.checkpoint_io import Placement


@dataclass
class PlacedReading:
    """The tensors that one sharded folder is read into: all are asked for when it's made, and `read` fills them.

    Nothing is communicated: each rank reads the parts that it holds.

    Args:
        folder: what's read.
        placement: says where each tensor goes; what it has no place for is read whole to the CPU.

    Raises:
        ValueError: a tensor has another shape than the stored one; nothing was changed.
        UnpicklingError: the folder lacks a tensor or a part of one; nothing was changed.
    """

    folder: ShardedFolder
    placement: Placement
    _targets: dict[str, list[Any]] = field(default_factory=dict, init=False)
    """By stored name: several where tied weights go to tensors that aren't."""
    _new: dict[str, Tensor] = field(default_factory=dict, init=False)
    _checkpoint: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._checkpoint = self.folder.filled(self._target_of)

    def read(self) -> dict[str, Any]:
        """Fill the tensors and return the checkpoint with them in their places.

        One stored part is in memory at a time, beside what's filled.
        """
        memory = MemoryReturn()
        for name, targets in self._targets.items():
            facts = self.folder.facts(name)
            wanted = [(target, item) for target in targets for item in _items(name, facts, target)]
            for chunk in facts.chunks:
                overlapping = [(target, item) for target, item in wanted if item.storage_index.offset == chunk.offsets]
                if overlapping and chunk.sizes.numel():
                    memory.freed(self._fill(name, chunk, overlapping))
        return self._checkpoint

    def _target_of(self, place: Place, name: str, empty: Tensor) -> Any:
        target = self.placement(place, empty)
        facts = self.folder.facts(name)
        if target is None:
            # Its memory isn't taken before it's written to.
            target = self._new.setdefault(name, torch.empty(facts.size, dtype=facts.properties.dtype))
        if target.size() != facts.size:
            message = (
                f"`{name}` doesn't fit: `{self.folder.path}` holds {list(facts.size)}, wanted is {list(target.size())}."
            )
            raise ValueError(message)
        targets = self._targets.setdefault(name, [])
        if not any(target is known for known in targets):
            targets.append(target)
        return target

    def _fill(self, name: str, chunk: ChunkStorageMetadata, wanted: list[tuple[Any, ReadItem]]) -> int:
        """Copy a stored part to where it's wanted; returns its size in bytes."""
        stored = self.folder.read_chunk(name, chunk)
        for target, item in wanted:
            own = find_state_dict_object({name: target}, item.dest_index).detach()
            part = narrow_tensor_by_index(own, item.dest_offsets, item.lengths)
            part.copy_(narrow_tensor_by_index(stored, item.storage_offsets, item.lengths))
        return stored.nbytes


def _items(name: str, facts: TensorStorageMetadata, target: Any) -> Iterator[ReadItem]:
    """Yield which part of which stored part goes where in what this rank holds of a tensor."""
    if isinstance(target, DTensor) and target.device_mesh.get_coordinate() is None:
        return  # on other ranks alone
    yield from _create_read_items(name, facts, target)
