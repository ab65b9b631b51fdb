"""What a run stands on, and how its processes begin and end."""

import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from lt_fabric.gathering import gather_objects
from lt_interfaces import Accelerator, CheckpointIO, ClusterEnvironment, Precision, Strategy
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.rng import share_draws

_SEED: Final = "PL_GLOBAL_SEED"


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
    """Prepare the current process: its device, its place in the process group, and the seed that all ranks go by.

    Called first in every process.
    """
    runtime.strategy.setup_environment()
    if runtime.strategy.world_size > 1:
        _share_seed(runtime.strategy)


def _share_seed(strategy: Strategy) -> None:
    """Let ``PL_GLOBAL_SEED`` be rank 0's everywhere: the order of samples that ranks share follows it. Collective.

    Random generators stay as they are, so ranks may draw other numbers. A seed drawn from now on is the same on all.
    """
    told = gather_objects(strategy, [os.environ.get(_SEED), int.from_bytes(os.urandom(4), "little")])
    share_draws(told[0][1])
    seeds = [seed for seed, _ in told]
    if len(set(seeds)) == 1:
        return
    other = next(rank for rank, seed in enumerate(seeds) if seed != seeds[0])
    rank_zero_warn(
        f"`{_SEED}` differs between ranks: {seeds[0]} on rank 0, {seeds[other]} on rank {other}. Ranks must share one"
        f" order of samples, so all follow rank 0's. Give `seed_everything` a seed to choose it."
    )
    os.environ.pop(_SEED, None)
    if seeds[0] is not None:
        os.environ[_SEED] = seeds[0]


def tear_down_process(runtime: Runtime) -> None:
    """End what `set_up_process` began; called in every process, also after a failure.

    Pending checkpoints are finished first; what went wrong with them is raised last.
    """
    try:
        runtime.checkpoint_io.teardown()
    finally:
        runtime.strategy.teardown()
        runtime.environment.teardown()
