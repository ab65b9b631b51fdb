"""What devices can do at best, in floating-point operations per second.

The rates are those of NVIDIA's data sheets, with tensor cores and without sparsity, which no ordinary training uses.
"""

import re
from collections.abc import Mapping
from typing import Final

import torch

from lt_interfaces.rank_zero import rank_zero_warn

_TF32: Final = "tfloat32"
_Rates = Mapping[torch.dtype | str, float]


def _rates(
    float32: float, half: float, *, tf32: float | None = None, int8: float | None = None, bfloat16: bool = True
) -> _Rates:
    """Return the rates of a device, given in teraFLOPs per second; the same for float16 and bfloat16."""
    found: dict[torch.dtype | str, float | None] = {
        torch.float32: float32,
        _TF32: tf32,
        torch.float16: half,
        torch.bfloat16: half if bfloat16 else None,
        torch.int8: int8,
    }
    return {dtype: rate * 1e12 for dtype, rate in found.items() if rate is not None}


_H100: Final = _rates(67, 989.4, tf32=494.7, int8=1978.9)
# By a part of the device's name, in whole words; the first that's found counts.
_DEVICES: Final[Mapping[str, _Rates]] = {
    "b200": _rates(75, 2250, tf32=1125, int8=4500),
    "gh200": _H100,
    "h200": _H100,
    "h100 pcie": _rates(51, 756, tf32=378, int8=1513),
    "h100 nvl": _rates(60, 835, tf32=417.5, int8=1670.5),
    "h100": _H100,
    "a100": _rates(19.5, 312, tf32=156, int8=624),
    "rtx a6000": _rates(38.7, 154.8, tf32=77.4, int8=309.7),
    "a10g": _rates(31.2, 70, tf32=35, int8=140),
    "a10": _rates(31.2, 125, tf32=62.5, int8=250),
    "l40s": _rates(91.6, 362, tf32=183, int8=733),
    "l40": _rates(90.5, 181, tf32=90.5, int8=362),
    "l4": _rates(30.3, 121, tf32=60, int8=242),
    "rtx 4090": _rates(82.6, 165.2, tf32=82.6, int8=660.6),
    "rtx 3090": _rates(35.6, 71, tf32=35.6, int8=284),
    "t4": _rates(8.1, 65, int8=130, bfloat16=False),
    "v100-sxm2": _rates(15.7, 125, bfloat16=False),
    "v100-pcie": _rates(14, 112, bfloat16=False),
}


def get_available_flops(device: torch.device, dtype: torch.dtype | str) -> int | None:
    """Return the FLOPs per second that a device can do at best in a format; ``None`` where they aren't known.

    float32 means TF32 where `torch.set_float32_matmul_precision` lets matrices be multiplied in that.

    Args:
        device: a CUDA device; of others nothing is known.
        dtype: the format that's computed in.

    >>> get_available_flops(torch.device("cpu"), torch.float32) is None
    True
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    found = next((rates for part, rates in _DEVICES.items() if re.search(rf"\b{part}\b", name.lower())), None)
    if found is None:
        rank_zero_warn(f"The FLOPs that {name!r} can do aren't known here; pass `available_flops` to say them.")
        return None
    if dtype is torch.float32 and torch.get_float32_matmul_precision() != "highest" and _TF32 in found:
        dtype = _TF32
    rate = found.get(dtype)
    return None if rate is None else int(rate)
