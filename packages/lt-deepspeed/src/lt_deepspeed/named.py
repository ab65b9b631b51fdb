"""The registered names: each is a factory that sets arguments of `DeepSpeedStrategy`."""

from functools import partial
from typing import Final

from lt_deepspeed.strategy import DeepSpeedStrategy

deepspeed: Final = DeepSpeedStrategy
deepspeed_stage_1: Final = partial(DeepSpeedStrategy, stage=1)
deepspeed_stage_1_offload: Final = partial(DeepSpeedStrategy, stage=1, offload_optimizer=True)
deepspeed_stage_2: Final = partial(DeepSpeedStrategy, stage=2)
deepspeed_stage_2_offload: Final = partial(DeepSpeedStrategy, stage=2, offload_optimizer=True)
deepspeed_stage_3: Final = partial(DeepSpeedStrategy, stage=3)
deepspeed_stage_3_offload: Final = partial(DeepSpeedStrategy, stage=3, offload_optimizer=True, offload_parameters=True)
deepspeed_stage_3_offload_nvme: Final = partial(
    DeepSpeedStrategy,
    stage=3,
    offload_optimizer=True,
    offload_parameters=True,
    remote_device="nvme",
    offload_params_device="nvme",
    offload_optimizer_device="nvme",
)
