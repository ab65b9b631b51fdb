"""Who a process is among those of its job."""

from dataclasses import dataclass

import torch

from lt_interfaces import Assembly, MisconfigurationException


@dataclass(frozen=True)
class Ranks:
    """The place of this process in its job, and its device."""

    global_rank: int
    local_rank: int
    node_rank: int
    world_size: int
    device: torch.device


def ranks_of(assembly: Assembly) -> Ranks:
    """Return the ranks of this process; an environment that doesn't know them is told.

    Raises:
        MisconfigurationException: the process has a local rank for which there's no device.
    """
    environment, num_local = assembly.environment, len(assembly.devices)
    local_rank, node_rank = environment.local_rank(), environment.node_rank()
    environment.set_world_size(num_local * assembly.num_nodes)
    environment.set_global_rank(node_rank * num_local + local_rank)
    if local_rank >= num_local:
        message = (
            f"This process has local rank {local_rank}, but `devices` names {num_local} on this node. "
            f"Start {num_local} processes per node, or set `devices` to as many as are started."
        )
        raise MisconfigurationException(message)
    return Ranks(
        global_rank=environment.global_rank(),
        local_rank=local_rank,
        node_rank=node_rank,
        world_size=environment.world_size(),
        device=assembly.devices[local_rank],
    )
