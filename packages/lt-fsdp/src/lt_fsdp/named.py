"""The registered names of the sharded strategies: each is a factory that sets arguments."""

from functools import partial
from typing import Final

from lt_fsdp.fsdp import FSDPStrategy

fsdp: Final = FSDPStrategy
fsdp_cpu_offload: Final = partial(FSDPStrategy, cpu_offload=True)
