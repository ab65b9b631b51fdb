"""Casting nested data, and the default format of new tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


def cast_floats(data: Any, dtype: torch.dtype) -> Any:
    """Return nested data with its floating-point tensors in another format; everything else stays as it is.

    >>> cast_floats({"x": torch.ones(1), "labels": torch.ones(1, dtype=torch.long)}, torch.bfloat16)
    {'x': tensor([1.], dtype=torch.bfloat16), 'labels': tensor([1])}
    """
    return apply_to_collection(data, Tensor, _cast, dtype)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Create new floating-point tensors in this format within the context; what was before returns in any case.

    >>> with default_dtype(torch.float64):
    ...     torch.zeros(1).dtype
    torch.float64
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
