"""Meshes: the ranks of a job in rows and columns, each dimension with a meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from lt_interfaces import MisconfigurationException

DATA: Final = "data_parallel"
TENSOR: Final = "tensor_parallel"
PIPELINE: Final = "pipeline"
Size = int | Literal["auto"]


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
        return _mesh(device, {"shard": world_size})
    replicate, shard = asked if asked is not None else (num_nodes, world_size // num_nodes)
    return _mesh(device, {"replicate": replicate, "shard": shard})


def _mesh(device: torch.device, sizes: Mapping[str, int], *, flat: str = "") -> DeviceMesh:
    """Return a mesh of these dimensions, with one more name for the first two together where it's given. Collective.

    Whoever waits in one of its groups does so as long as in the group of all ranks; torch would give it half an hour.
    """
    mesh = init_device_mesh(device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))
    groups = list(mesh.get_all_groups())
    if flat:
        # torch has no public name for it
        groups.append(mesh[tuple(sizes)[:2]]._flatten(flat).get_group())
    assert dist.group.WORLD is not None  # processes have met
    timeout = dist.group.WORLD._get_backend(device).options._timeout
    for group in groups:
        group.set_timeout(timeout)
    return mesh


@dataclass(frozen=True)
class ParallelSizes:
    """How many ranks lie along each axis of a job that divides tensors; ranks of one tensor are neighbours."""

    replicate: int
    """Replicas of the sharded model."""
    shard: int
    """Ranks over which each replica is sharded."""
    tensor: int
    """Ranks that compute one layer together."""
    pipeline: int = 1
    """Ranks that each have a stage of the model; with more than one the other axes have no length."""

    @property
    def together(self) -> int:
        """Ranks that see the same samples."""
        return self.tensor * self.pipeline

    @property
    def data(self) -> int:
        """Ranks that train on different samples."""
        return self.replicate * self.shard

    def new_mesh(self, device: torch.device) -> DeviceMesh:
        """Return the mesh of the job; collective."""
        if self.pipeline > 1:
            return _mesh(device, {PIPELINE: self.pipeline})
        if self.replicate == 1:
            return _mesh(device, {DATA: self.shard, TENSOR: self.tensor})
        return _mesh(device, {"replicate": self.replicate, "shard": self.shard, TENSOR: self.tensor}, flat=DATA)

    def sharding_mesh(self, mesh: DeviceMesh) -> DeviceMesh:
        """Return the part of the job's mesh that a model is sharded over."""
        return mesh[DATA] if self.replicate == 1 else mesh["replicate", "shard"]


def sizes_of(data: Size, tensor: Size, *, num_nodes: int, world_size: int) -> ParallelSizes:
    """Return the sizes of a job in which each node computes layers together, unless it's told otherwise.

    One that's "auto" beside a number is what's left of the job.

    Raises:
        MisconfigurationException: they don't make up the job, naming both.

    >>> sizes_of("auto", "auto", num_nodes=2, world_size=8)
    ParallelSizes(replicate=1, shard=2, tensor=4, pipeline=1)
    >>> sizes_of(4, "auto", num_nodes=1, world_size=8)
    ParallelSizes(replicate=1, shard=4, tensor=2, pipeline=1)
    """
    for name, size in (("data_parallel_size", data), ("tensor_parallel_size", tensor)):
        if size != "auto" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            message = f"`{name}={size!r}` must be a whole number of processes, at least 1, or 'auto'."
            raise MisconfigurationException(message)
    if tensor != "auto":
        found_tensor = tensor
        found_data = max(1, world_size // tensor) if data == "auto" else data
    else:
        found_data = num_nodes if data == "auto" else data
        found_tensor = max(1, world_size // found_data)
    if found_data * found_tensor != world_size:
        message = (
            f"`data_parallel_size={data!r}` and `tensor_parallel_size={tensor!r}` ask for {found_data} x"
            f" {found_tensor} = {found_data * found_tensor} processes, but this job has {world_size}. Change one of"
            " them, or `devices` and `num_nodes`."
        )
        raise MisconfigurationException(message)
    return ParallelSizes(replicate=1, shard=found_data, tensor=found_tensor)
