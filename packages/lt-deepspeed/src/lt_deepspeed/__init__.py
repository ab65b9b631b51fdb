"""DeepSpeed for the lt training framework: ZeRO stages 1 to 3 with offload to CPU and NVMe."""

from lt_deepspeed.options import ZeroOptions
from lt_deepspeed.strategy import DeepSpeedStrategy

__all__ = ["DeepSpeedStrategy", "ZeroOptions"]
