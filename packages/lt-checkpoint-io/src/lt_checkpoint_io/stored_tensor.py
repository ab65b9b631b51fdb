"""A tensor in a checkpoint that is known by shape and dtype, and read only when its values are asked for."""

import ctypes
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

Progress = Callable[[int, int], None]
"""Is told how many bytes are done, and how many there are."""


@dataclass(frozen=True)
class StoredTensor:
    """Stands for one tensor of a checkpoint on disk."""

    key: str
    """Which data it has; tensors with the same key are one and the same (tied weights)."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    """Returns the values, on the CPU; each call may read them anew."""

    @classmethod
    def of(cls, tensor: Tensor) -> "StoredTensor":
        """Return what stands for a tensor that is in memory, or mapped into it."""
        place = tensor.untyped_storage().data_ptr() or id(tensor)
        key = f"{place}:{tensor.storage_offset()}:{tuple(tensor.shape)}:{tensor.stride()}:{tensor.dtype}"
        return cls(key, tuple(tensor.shape), tensor.dtype, lambda: tensor)

    @property
    def numel(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes its values take."""
        return self.numel * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


def is_plain(value: object) -> bool:
    """Say whether a value is an ordinary dense tensor, not a sparse, quantized or otherwise special one."""
    if type(value) not in (Tensor, torch.nn.Parameter):
        return False
    assert isinstance(value, Tensor)
    return value.layout is torch.strided and not value.is_quantized


def packed(tensor: Tensor) -> Tensor:
    """Return the tensor on the CPU with its values in order and nothing else in its storage; copied only if needed."""
    ordered = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return ordered if ordered.untyped_storage().nbytes() == ordered.nbytes else ordered.clone()


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return the memory of a `packed` tensor, uncopied; the tensor must outlive it."""
    return memoryview((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())).cast("B")


def give_back_memory() -> None:
    """Return memory of deleted tensors to the system.

    The allocator of Linux keeps blocks of up to 32 MiB; read one by one they can add up to most of a checkpoint.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


class MemoryReturn:
    """Gives back memory of deleted tensors whenever enough has come together: the call itself takes time."""

    _ENOUGH_BYTES: Final = 8 << 20

    def __init__(self) -> None:
        self._bytes = 0

    def freed(self, nbytes: int) -> None:
        """Take note that so much was deleted."""
        self._bytes += nbytes
        if self._bytes >= self._ENOUGH_BYTES:
            give_back_memory()
            self._bytes = 0


def size_text(nbytes: int) -> str:
    """Return a number of bytes as people read it.

    >>> size_text(1536), size_text(17)
    ('1.5 KiB', '17 B')
    """
    size, units = float(nbytes), ("B", "KiB", "MiB", "GiB", "TiB")
    unit = min(int(math.log2(size) // 10), len(units) - 1) if nbytes else 0
    return f"{nbytes} B" if unit == 0 else f"{size / 1024**unit:.1f} {units[unit]}"
