"""Precisions that keep and compute everything in one number format."""

from contextlib import AbstractContextManager
from typing import Any, Final

import torch
from torch import nn

from lt_interfaces import PrecisionDtypes
from lt_precision.casting import cast_floats, default_dtype
from lt_precision.unscaled import UnscaledPrecision

# Unlike `module.to(dtype)`, these leave complex numbers alone.
_CASTS: Final = {torch.float64: nn.Module.double, torch.float16: nn.Module.half, torch.bfloat16: nn.Module.bfloat16}


class OneFormatPrecision(UnscaledPrecision):
    """Base of precisions with one format for weights, buffers, inputs, arithmetic and new tensors; nothing is scaled.

    Args:
        precision: the canonical name.
        dtype: the format.
    """

    def __init__(self, precision: str, dtype: torch.dtype) -> None:
        self._name: Final = precision
        self._dtype: Final = dtype

    @property
    def precision(self) -> str:
        return self._name

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(param=self._dtype, compute=self._dtype, reduce=self._dtype, buffer=self._dtype)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module with its floating-point parameters and buffers cast, in place."""
        return _CASTS[self._dtype](module)

    def convert_input(self, data: Any) -> Any:
        return cast_floats(data, self._dtype)

    def forward_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self._dtype)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self._dtype)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(self._dtype)
