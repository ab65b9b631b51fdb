"""The environment of torchrun: its agent starts the processes, and starts them again after a failure."""

import os
from typing import ClassVar, Final

from lt_interfaces.rank_zero import WarningCache
from lt_strategies.environments.started_elsewhere import StartedOnce

_DEFAULT_ADDRESS: Final = "127.0.0.1"
_DEFAULT_PORT: Final = 12910


class TorchElasticEnvironment(StartedOnce):
    """Processes that ``torchrun`` (``python -m torch.distributed.run``) has started.

    Detected by ``TORCHELASTIC_RUN_ID``, also within a job of a scheduler: torchrun started the processes, not that.

    Example::

        torchrun --nproc-per-node=2 train.py  # with Trainer(devices=2)
    """

    detection_priority: ClassVar[int] = 40

    def __init__(self) -> None:
        self._said: Final = WarningCache()

    @classmethod
    def detect(cls) -> bool:
        return "TORCHELASTIC_RUN_ID" in os.environ

    @property
    def main_address(self) -> str:
        return self._variable("MASTER_ADDR", default=_DEFAULT_ADDRESS)

    @property
    def main_port(self) -> int:
        return int(self._variable("MASTER_PORT", default=str(_DEFAULT_PORT)))

    def _variable(self, name: str, *, default: str) -> str:
        if name not in os.environ:
            self._said.warn(f"torchrun sets `{name}`, but it isn't there; {default} is used.")
        return os.environ.get(name, default)

    def world_size(self) -> int:
        return int(os.environ.get("WORLD_SIZE", "1"))

    def global_rank(self) -> int:
        return int(os.environ.get("RANK", "0"))

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", "0"))

    def node_rank(self) -> int:
        return int(os.environ.get("GROUP_RANK", "0"))

    @property
    def count_option(self) -> str:
        return "torchrun's `--nproc-per-node` and `--nnodes`"
