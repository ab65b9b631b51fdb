"""Number formats: half, double, mixed, 8-bit floating point and quantised weights."""

from lt_precision.bitsandbytes import BitsandbytesPrecision
from lt_precision.double import DoublePrecision
from lt_precision.float8 import Float8Precision
from lt_precision.fp8 import fp8_precision
from lt_precision.half import HalfPrecision
from lt_precision.mixed import MixedPrecision
from lt_precision.transformer_engine import TransformerEnginePrecision
from lt_precision.weight_only import WeightOnlyPrecision

__all__ = [
    "BitsandbytesPrecision",
    "DoublePrecision",
    "Float8Precision",
    "HalfPrecision",
    "MixedPrecision",
    "TransformerEnginePrecision",
    "WeightOnlyPrecision",
    "fp8_precision",
]
