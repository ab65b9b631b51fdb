"""Meshes: the ranks of a job in rows and columns, each dimension with a meaning."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from lt_interfaces import MisconfigurationException


def check_hybrid_sizes(sizes: Sequence[int], world_size: int) -> None:
    """Refuse sizes of (replicas, shards) that don't make up the job.

    Raises:
        MisconfigurationException: naming both sides.
    """
    if len(sizes) != 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
        message = (
            f"`device_mesh={tuple(sizes)!r}` must be two whole numbers: how many replicas of the model there are,"
            " and over how many ranks each is sharded."
        )
        raise MisconfigurationException(message)
    if sizes[0] * sizes[1] != world_size:
        message = (
            f"`device_mesh={tuple(sizes)}` asks for {sizes[0]} x {sizes[1]} = {sizes[0] * sizes[1]} processes, but this"
            f" job has {world_size}. Change `device_mesh`, or `devices` and `num_nodes`."
        )
        raise MisconfigurationException(message)


def sharding_mesh(asked: Any, *, is_hybrid: bool, num_nodes: int, world_size: int, device: torch.device) -> DeviceMesh:
    """Return the mesh to shard over; collective.

    Args:
        asked: a mesh, the sizes of (replicas, shards), or ``None``.
        is_hybrid: without sizes: shard within each node, and replicate over nodes.
        num_nodes: of the job.
        world_size: of the job.
        device: of this rank.
    """
    if isinstance(asked, DeviceMesh):
        return asked
    if asked is None and not is_hybrid:
        return init_device_mesh(device.type, (world_size,), mesh_dim_names=("shard",))
    sizes = tuple(asked) if asked is not None else (num_nodes, world_size // num_nodes)
    return init_device_mesh(device.type, sizes, mesh_dim_names=("replicate", "shard"))
