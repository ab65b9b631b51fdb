"""Models larger than one device for lt: FSDP2, tensor parallelism, pipelines, on torch's own engines."""

from lt_fsdp.fsdp import FSDPStrategy

__all__ = [
    "FSDPStrategy",
]
