"""Objects of all ranks, gathered on every rank."""

import io
from typing import Any, Protocol

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lt_interfaces.plain_values import from_plain, to_plain


class Gathering(Protocol):
    """What gathering needs of a strategy."""

    @property
    def world_size(self) -> int:
        """Processes of the job."""

    @property
    def root_device(self) -> torch.device:
        """Device of this process."""

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Return the tensors of all ranks, stacked."""


def gather_objects(strategy: Gathering, obj: Any) -> list[Any]:
    """Return what every rank gave, by rank; collective, and the same on every rank. One process gets its own back.

    Two collectives of tensors, so that any backend will do. Tensors arrive on the CPU.

    Args:
        strategy: whose ranks give and take.
        obj: tensors and plain values, as a checkpoint holds them (`lt_interfaces.plain_values`).

    Raises:
        TypeError: for a value that a checkpoint can't hold.
    """
    if strategy.world_size == 1:
        return [obj]
    written = _written(obj).to(strategy.root_device)
    size = torch.tensor([written.numel()], dtype=torch.int64, device=strategy.root_device)
    sizes = [int(each) for each in strategy.all_gather(size).flatten().tolist()]
    padded = torch.zeros(max(sizes), dtype=torch.uint8, device=strategy.root_device)
    padded[: written.numel()] = written
    rows = strategy.all_gather(padded).cpu().unbind()
    return [_read(row[:size]) for row, size in zip(rows, sizes, strict=True)]


def _written(obj: Any) -> Tensor:
    buffer = io.BytesIO()
    torch.save(apply_to_collection(to_plain(obj, "gathered object"), Tensor, _compact), buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _compact(tensor: Tensor) -> Tensor:
    """Return the tensor without what it's a view of: torch would write all of that."""
    tensor = tensor.detach()
    is_view = tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
    return tensor.clone() if is_view else tensor


def _read(row: Tensor) -> Any:
    # Plain values alone: nothing that another rank sent is executed.
    return from_plain(torch.load(io.BytesIO(row.numpy().tobytes()), map_location="cpu", weights_only=True))
