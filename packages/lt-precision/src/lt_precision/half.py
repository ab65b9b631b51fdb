"""True half precision: everything in 16 bits."""

from typing import Final, final

import torch

from lt_precision.one_format import OneFormatPrecision

_DTYPES: Final = {"16-true": torch.float16, "bf16-true": torch.bfloat16}


@final
class HalfPrecision(OneFormatPrecision):
    """Weights, inputs, arithmetic and new tensors in 16 bits: half the memory, and updates are rounded to it too.

    Losses aren't scaled, so small gradients may vanish in float16; ``"16-mixed"`` scales them.

    Args:
        precision: ``"16-true"`` for float16, ``"bf16-true"`` for bfloat16.
        device: not needed here; every precision is made with a name and a device.

    >>> model = HalfPrecision("bf16-true").convert_module(torch.nn.Linear(1, 1))
    >>> model.weight.dtype
    torch.bfloat16
    """

    def __init__(self, precision: str = "16-true", device: torch.device | None = None) -> None:
        if precision not in _DTYPES:
            message = f"`precision` must be one of {list(_DTYPES)} for HalfPrecision, not {precision!r}."
            raise ValueError(message)
        super().__init__(precision, _DTYPES[precision])
