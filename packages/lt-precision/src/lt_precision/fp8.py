"""``fp8-mixed``: 8-bit floating point through the engine that is installed."""

import torch

from lt_interfaces import Precision
from lt_interfaces.errors import MissingPackageError
from lt_precision.engines import INSTALL, is_installed
from lt_precision.float8 import Float8Precision
from lt_precision.transformer_engine import TransformerEnginePrecision


def fp8_precision(precision: str = "fp8-mixed", device: torch.device | None = None) -> Precision:
    """Return the precision of the fp8 engine that is installed: Transformer Engine on CUDA devices, else torchao.

    Either way weights stay in 32 bits, linear layers multiply in 8, and everything else runs in bfloat16 autocast.

    Args:
        precision: only ``"fp8-mixed"``.
        device: where it computes.

    Raises:
        MissingPackageError: neither engine is installed.

    >>> fp8_precision("fp8-mixed", torch.device("cpu")).precision
    'float8'
    """
    if precision != "fp8-mixed":
        message = f"`precision` must be 'fp8-mixed' for fp8_precision, not {precision!r}."
        raise ValueError(message)
    if device is not None and device.type == "cuda" and is_installed("transformer_engine"):
        return TransformerEnginePrecision(torch.float32, fallback_compute_dtype=torch.bfloat16)
    if is_installed("torchao"):
        return Float8Precision("float8", device)
    message = (
        "`precision='fp8-mixed'` needs the package `torchao` or, on CUDA devices, `transformer_engine`, and neither is"
        f" installed. Install one with: pip install {INSTALL['torchao']}, or: pip install"
        f" {INSTALL['transformer_engine']}"
    )
    raise MissingPackageError(message, name="torchao")
