"""Double precision: everything in 64 bits."""

from typing import final

import torch

from lt_precision.one_format import OneFormatPrecision


@final
class DoublePrecision(OneFormatPrecision):
    """Weights, inputs, arithmetic and new tensors in 64 bits.

    Args:
        precision: the name it was asked for by; only ``"64-true"``.
        device: not needed here; every precision is made with a name and a device.

    >>> model = DoublePrecision().convert_module(torch.nn.Linear(1, 1))
    >>> model.weight.dtype
    torch.float64
    """

    def __init__(self, precision: str = "64-true", device: torch.device | None = None) -> None:
        if precision != "64-true":
            message = f"`precision` must be '64-true' for DoublePrecision, not {precision!r}."
            raise ValueError(message)
        super().__init__(precision, torch.float64)
