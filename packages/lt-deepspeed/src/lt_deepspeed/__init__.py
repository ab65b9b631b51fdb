"""DeepSpeed for the lt training framework: ZeRO stages 1 to 3 with offload to CPU and NVMe."""

from lt_deepspeed.checkpoint_io import DeepSpeedCheckpointIO
from lt_deepspeed.consolidation import convert_zero_checkpoint_to_fp32_state_dict
from lt_deepspeed.options import ZeroOptions
from lt_deepspeed.strategy import DeepSpeedStrategy

__all__ = [
    "DeepSpeedCheckpointIO",
    "DeepSpeedStrategy",
    "ZeroOptions",
    "convert_zero_checkpoint_to_fp32_state_dict",
]
