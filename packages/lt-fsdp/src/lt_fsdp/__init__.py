"""Models larger than one device for lt: FSDP2, tensor parallelism, pipelines, on torch's own engines."""

from lt_fsdp.fsdp import FSDPStrategy
from lt_fsdp.model_parallel import ModelParallelStrategy
from lt_fsdp.plan import ParallelPlan

__all__ = [
    "FSDPStrategy",
    "ModelParallelStrategy",
    "ParallelPlan",
]
