"""What a run stands on, and how its processes begin and end."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lt_interfaces import Accelerator, CheckpointIO, ClusterEnvironment, Precision, Strategy


@dataclass(frozen=True)
class Runtime:
    """The parts of a run, resolved, checked against each other and connected: nothing is launched yet.

    The Trainer and Fabric get one from `lt_fabric.assemble.assemble`.

    Args:
        accelerator: the kind of device.
        environment: who this process is among those of the job.
        strategy: connected to the other parts.
        precision: the number formats.
        checkpoint_io: where checkpoints go.
        num_nodes: machines of the job.
        devices: the devices of this node, in order of local rank.
    """

    accelerator: Accelerator
    environment: ClusterEnvironment
    strategy: Strategy
    precision: Precision
    checkpoint_io: CheckpointIO
    num_nodes: int
    devices: tuple[torch.device, ...]

    @property
    def launch(self) -> Callable[..., Any]:
        """Run ``function(*args, **kwargs)`` in every process of the job: ``runtime.launch(function, *args)``.

        Without a launcher this is a call by C code, so that it adds no frame to a traceback.
        """
        launcher = self.strategy.launcher
        return operator.call if launcher is None else launcher.launch


def set_up_process(runtime: Runtime) -> None:
    """Prepare the current process: its device, and its place in the process group. Called first in every process."""
    runtime.strategy.setup_environment()


def tear_down_process(runtime: Runtime) -> None:
    """End what `set_up_process` began; called in every process, also after a failure.

    Pending checkpoints are finished first; what went wrong with them is raised last.
    """
    try:
        runtime.checkpoint_io.teardown()
    finally:
        runtime.strategy.teardown()
        runtime.environment.teardown()
