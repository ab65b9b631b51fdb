"""Laying out the modules of a job over its mesh: layers divided over some ranks, what's whole sharded over others."""

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.hooks import RemovableHandle

from lt_fsdp.arguments import mixed_precision_policy, offload_policy
from lt_fsdp.meshes import DATA, PIPELINE, TENSOR, ParallelSizes
from lt_fsdp.meta import fill_sharded_from_meta, is_on_meta
from lt_fsdp.pipeline_stages import lay_out_stages, send_whole
from lt_fsdp.plan import ParallelPlan
from lt_fsdp.recomputing import recompute
from lt_fsdp.sharding import Sharder, own_tensors, send_from_first, sharded_tops
from lt_fsdp.tensor_parts import (
    is_divided,
    laid_out_like_parameters,
    refuse_first_fsdp,
    refuse_undivided,
    share_random_numbers,
)
from lt_fsdp.tensor_styles import tie_again, tied_parameters
from lt_interfaces import PrecisionDtypes

Parallelize = Callable[[nn.Module, DeviceMesh], nn.Module | None]
"""Divides the layers of a module over a mesh, in place."""


class ParallelLayout:
    """The mesh of a job, and how its modules come to lie on it.

    Args:
        sizes: of the mesh.
        parallelize: divides a module; ``None``: its owner has.
        plan: how what's whole is sharded.
    """

    def __init__(self, sizes: ParallelSizes, parallelize: Parallelize | None, plan: ParallelPlan) -> None:
        self.sizes: Final = sizes
        self.may_communicate = False
        """Whether the processes of the job have met."""
        self._parallelize: Final = parallelize
        self._plan: Final = plan
        self._mesh: DeviceMesh | None = None
        self._hooks: Final[list[RemovableHandle]] = []

    def clear(self) -> None:
        """Let go of the modules."""
        while self._hooks:
            self._hooks.pop().remove()

    def mesh_on(self, device: torch.device) -> DeviceMesh:
        """Return the job's mesh, which is made when it's first asked for; collective then.

        Raises:
            RuntimeError: it's too early.
        """
        if self._mesh is None:
            if not self.may_communicate:
                message = "`device_mesh` is there once processes have met: use it in `configure_model` or later."
                raise RuntimeError(message)
            self._mesh = self.sizes.new_mesh(device)
            if self.sizes.together > 1:
                axis = PIPELINE if self.sizes.pipeline > 1 else TENSOR
                share_random_numbers(self._mesh.get_group(axis), device)
        return self._mesh

    def data_group(self, device: torch.device) -> Any:
        """Return the ranks whose samples make up a batch; in a pipeline, where all have the same, all."""
        mesh = self.mesh_on(device)
        return mesh.get_group() if self.sizes.pipeline > 1 else mesh[DATA].get_group()

    def lay_out(self, module: nn.Module, *, device: torch.device, dtypes: PrecisionDtypes, initialise: bool) -> None:
        """Divide a module, unless it is already, and shard what's whole. Collective.

        Args:
            module: whole, or divided and sharded in part by its owner, or wholly in an earlier run.
            device: of this rank.
            dtypes: of the precision.
            initialise: ``False`` leaves open the values of what's on the meta device.

        Raises:
            TypeError: nobody has divided it, or FSDP's first version has wrapped it.
        """
        mesh, plan = self.mesh_on(device), self._plan
        refuse_first_fsdp(module)
        if self.sizes.pipeline > 1:
            number = plan.num_microbatches or 2 * self.sizes.pipeline
            how: dict[str, Any] = {"schedule": plan.pipeline_schedule, "num_microbatches": number}
            lay_out_stages(module, mesh, device=device, initialise=initialise, **how)
            return
        self._divide(module, device, initialise=initialise)
        for top in sharded_tops(module):
            assert isinstance(top, nn.Module)  # torch mixes the other class into that of the module
            if is_on_meta(top):
                fill_sharded_from_meta(top, device, initialise=initialise)
            if initialise:
                send_from_first(mesh, (tensor for one in top.modules() for tensor in own_tensors(one)))
        sharder = Sharder(
            layout=self._plan.layout,
            mesh=self.sizes.sharding_mesh(mesh),
            device=device,
            mixed_precision=mixed_precision_policy(self._plan.mixed_precision, dtypes),
            offload=offload_policy(self._plan.cpu_offload, device),
            holders=mesh,
        )
        if self.sizes.data > 1 or self._plan.cpu_offload:
            sharder.shard(module, initialise=initialise)
        else:
            recompute(module, self._plan.activation_checkpointing_policy)
            sharder.place(module, initialise=initialise)
        self._hooks.extend(laid_out_like_parameters(module))

    def _divide(self, module: nn.Module, device: torch.device, *, initialise: bool) -> None:
        mesh = self.mesh_on(device)
        ranks = dist.get_process_group_ranks(mesh.get_group(TENSOR))
        if self.sizes.tensor == 1 or is_divided(module, ranks):
            return
        if self._parallelize is None:
            refuse_undivided(module, self.sizes.tensor)
        if initialise:
            send_whole(module, mesh, device)  # were it to shard, too, each rank's part would be of weights of its own
        tied = tied_parameters(module)
        returned = self._parallelize(module, mesh)
        if returned is not None and returned is not module:
            message = (
                f"`parallelize_fn` returned another module, a {type(returned).__name__}. Divide"
                f" {type(module).__name__} in place and return it."
            )
            raise TypeError(message)
        tie_again(module, tied)
