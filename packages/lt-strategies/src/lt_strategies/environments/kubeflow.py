"""Pods that Kubeflow's PyTorchJob has started."""

import os
from typing import ClassVar

from lt_strategies.environments.started_elsewhere import StartedOnce
from lt_strategies.environments.variables import number


class KubeflowEnvironment(StartedOnce):
    """Pods of a Kubeflow PyTorchJob with one process each.

    Never detected, as its variables are everybody's: give it by ``plugins``. Where a pod runs several processes,
    ``torchrun`` starts them in it, and that's detected.

    Example::

        Trainer(num_nodes=4, devices=1, strategy="ddp", plugins=KubeflowEnvironment())
    """

    detection_priority: ClassVar[int] = 0

    @classmethod
    def detect(cls) -> bool:
        return False

    @property
    def main_address(self) -> str:
        address = os.environ.get("MASTER_ADDR")
        if not address:
            message = "The variable MASTER_ADDR should name the pod of rank 0, but it isn't set: is this a PyTorchJob?"
            raise RuntimeError(message)
        return address

    @property
    def main_port(self) -> int:
        return number("MASTER_PORT")

    def world_size(self) -> int:
        return number("WORLD_SIZE")

    def global_rank(self) -> int:
        return number("RANK")

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self.global_rank()

    @property
    def count_option(self) -> str:
        return "the number of the PyTorchJob's replicas"
