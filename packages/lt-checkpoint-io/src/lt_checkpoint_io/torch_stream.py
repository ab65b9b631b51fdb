"""Writes a checkpoint as `torch.save` would, but reads its tensors one by one, so that it never is in memory whole."""

import io
import pickle
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from lt_checkpoint_io.stored_tensor import Progress, StoredTensor, give_back_memory, is_plain, packed


def write_torch_stream(tree: dict[str, Any], file: BinaryIO, progress: Progress) -> None:
    """Write a checkpoint with `StoredTensor` leaves; ``torch.load(weights_only=True)`` reads tensors there.

    Tensors with the same key share their memory when they're loaded, as tied weights do.
    """
    buffer = io.BytesIO()
    pickler = _HollowPickler(buffer)
    pickler.dump(tree)
    # The writer behind `torch.save`. The names of the records are the format itself.
    writer = torch._C.PyTorchFileWriter(file)
    writer.write_record("data.pkl", buffer.getvalue(), buffer.tell())
    writer.write_record("byteorder", sys.byteorder.encode(), len(sys.byteorder))
    done, total = 0, sum(storage.tensor.nbytes for storage in pickler.storages.values())
    for storage in pickler.storages.values():
        tensor = packed(storage.tensor.read())
        writer.write_record(f"data/{storage.name}", tensor.untyped_storage(), tensor.nbytes)  # type: ignore[arg-type]  # the stub names only legacy storages
        del tensor
        give_back_memory()
        done += storage.tensor.nbytes
        progress(done, total)
    writer.write_end_of_file()


@dataclass(frozen=True)
class _Storage:
    """Stands in a pickle for the values of a tensor, which are a record of their own."""

    name: str
    tensor: StoredTensor


class _HollowPickler(pickle.Pickler):
    """Pickles a checkpoint in torch's format and collects whose values go where."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, protocol=2)  # the protocol that `torch.load(weights_only=True)` reads
        self.storages: dict[str, _Storage] = {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        return ("storage", torch.UntypedStorage, obj.name, "cpu", obj.tensor.nbytes)

    def reducer_override(self, obj: Any) -> Any:
        # parts of special tensors: the indices of sparse ones
        stored = StoredTensor.of(obj) if is_plain(obj) else obj
        if not isinstance(stored, StoredTensor):
            return NotImplemented
        storage = self.storages.setdefault(stored.key, _Storage(str(len(self.storages)), stored))
        # the one form that has room for every dtype; torch writes it for those that came after its typed storages
        arguments: tuple[Any, ...] = (
            storage,
            0,
            stored.shape,
            _contiguous_stride(stored.shape),
            False,
            OrderedDict(),
            stored.dtype,
        )
        return torch._utils._rebuild_tensor_v3, arguments


def _contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()
