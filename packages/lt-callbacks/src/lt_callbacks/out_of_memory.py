"""Telling errors that say that memory has run out, and making room again."""

import gc
from typing import Final

import torch

# What torch says besides `torch.OutOfMemoryError`, by part: the CPU's allocator, older allocators and libraries that
# find no room for their workspace.
_SIGNS: Final = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDNN_STATUS_NOT_SUPPORTED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_oom_error(error: BaseException) -> bool:
    """Say whether an error means that memory has run out, on the device or on the CPU.

    >>> is_oom_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    True
    >>> is_oom_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_memory() -> None:
    """Let go of what nobody refers to any more, also of memory that torch keeps for later; the error must be gone."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
