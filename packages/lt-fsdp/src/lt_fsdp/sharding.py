"""Sharding a module: its units and what's left, one after the other, with torch's `fully_shard`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from lt_fsdp.meta import bring, fill_from_meta
from lt_fsdp.recomputing import recompute, wrapped_in
from lt_fsdp.units import units_of
from lt_interfaces.module_state import listed


@dataclass(frozen=True)
class Layout:
    """How modules are sharded, as `FSDPStrategy` was told."""

    policy: Any = None
    """What's a unit; see `units_of`."""
    reshard_after_forward: bool | int | None = None
    """Whether units are freed between forward and backward; ``None``: all but what's around them."""
    recomputed: Any = None
    """Which layers' activations are computed again in backward; see `recompute`."""
    ignored: frozenset[nn.Parameter] = field(default_factory=frozenset)
    """Parameters that stay whole on every rank."""
    offload: Any = None
    """Where shards are kept; see `offload_policy`."""
    mixed_precision: Any = None
    """Formats, where they aren't those of the precision; see `mixed_precision_policy`."""
    mesh: Any = None
    """Over which ranks; see `sharding_mesh`."""
    is_hybrid: bool = False
    """Whether the sharded model is replicated over nodes."""


@dataclass(frozen=True)
class Sharder:
    """Shards modules over the ranks of a mesh.

    Args:
        layout: how.
        mesh: over which ranks: one dimension to shard along, or two, to replicate along the first of them.
        device: of this rank.
        mixed_precision: the formats of gathered weights and of gradients on their way.
        offload: where shards are kept.
        holders: the ranks that start from the same weights; ``None``: those of ``mesh``.
    """

    layout: Layout
    mesh: DeviceMesh
    device: torch.device
    mixed_precision: MixedPrecisionPolicy
    offload: OffloadPolicy
    holders: DeviceMesh | None = None

    def shard(self, module: nn.Module, *, initialise: bool = True) -> None:
        """Shard a module in place; what's on the meta device gets memory, one unit at a time. Collective.

        All ranks start from the weights of the first one. What is sharded already stays as it is.

        Args:
            module: whole, with the same parameters on every rank.
            initialise: ``False`` leaves open the values of what's on the meta device: a checkpoint brings them.

        Raises:
            RuntimeError: two units share a parameter, or nothing fills what's on the meta device.
        """
        is_whole = {id(one) for one in _outside(module)}
        units = [one for one in units_of(module, self.layout.policy) if id(one) in is_whole]
        _refuse_shared(module, units)
        recompute(module, self.layout.recomputed)
        for unit in units:
            self._shard_one(wrapped_in(module, unit), is_outermost=False, initialise=initialise)
        rest = list(_rest(module))
        for one in rest:
            self._shard_one(one, is_outermost=len(rest) == 1, initialise=initialise)
        self.place(module, initialise=initialise)

    def place(self, module: nn.Module, *, initialise: bool = True) -> None:
        """Bring what isn't sharded to the device, with the weights of the first rank. Collective.

        Args:
            module: in which what lies in sharded modules stays as it is.
            initialise: as for `shard`.
        """
        self._prepare(_outside(module), initialise=initialise)

    def _shard_one(self, module: nn.Module, *, is_outermost: bool, initialise: bool) -> None:
        self._prepare(_outside(module), initialise=initialise)
        reshards = self.layout.reshard_after_forward
        fully_shard(
            module,
            mesh=self.mesh,
            reshard_after_forward=not is_outermost if reshards is None else reshards,
            mp_policy=self.mixed_precision,
            offload_policy=self.offload,
            ignored_params=set(self.layout.ignored) or None,
        )

    def _prepare(self, modules: Sequence[nn.Module], *, initialise: bool) -> None:
        """Bring modules to the device, with values that are the same on all ranks."""
        fill_from_meta(modules, self.device, initialise=initialise)
        for module in modules:
            bring(module, self.device)
            if initialise:
                send_from_first(self.holders or self.mesh, own_tensors(module))


@torch.no_grad()
def send_from_first(mesh: DeviceMesh, tensors: Iterable[Tensor]) -> None:
    """Give tensors the values that the first rank of a mesh has; parts of a DTensor those of their first holder."""
    for tensor in tensors:
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        for dimension in reversed(range(mesh.ndim)):
            group = mesh.get_group(dimension)
            if not (isinstance(tensor, DTensor) and _is_divided(tensor, dist.get_process_group_ranks(group))):
                dist.broadcast(local, group=group, group_src=0)


def _is_divided(tensor: DTensor, ranks: Sequence[int]) -> bool:
    """Say whether of these ranks each has another part of a DTensor."""
    mesh = tensor.device_mesh
    divided = [number for number, placement in enumerate(tensor.placements) if not placement.is_replicate()]
    holders = [set(dist.get_process_group_ranks(mesh.get_group(dimension))) for dimension in divided]
    return any(len(one & set(ranks)) > 1 for one in holders)


def sharded_tops(module: nn.Module) -> Iterator[FSDPModule]:
    """Yield the sharded modules in a module, or itself, that lie in no other one."""
    if isinstance(module, FSDPModule):
        yield module
        return
    for child in module.children():
        yield from sharded_tops(child)


def _rest(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules to be sharded around the units, each as a whole.

    A module of steps is called step by step, not by its forward, so its children are sharded rather than itself, as a
    loop written by hand would shard the model alone. Parameters of its own make it a sharded module all the same.
    """
    has_steps = callable(getattr(module, "training_step", None))
    is_called = not (has_steps or isinstance(module, nn.ModuleList | nn.ModuleDict))
    left = [one for one in _outside(module) if any(tensor is not None for tensor in one._parameters.values())]
    if isinstance(module, FSDPModule) or not left:
        return
    if is_called or any(one is module for one in left):
        yield module
        return
    for child in module.children():
        yield from _rest(child)


def _outside(module: nn.Module) -> list[nn.Module]:
    """Return the module and those in it that aren't sharded yet and lie in none that is."""
    if isinstance(module, FSDPModule):
        return []
    found = [module]
    for child in module.children():
        found += [one for one in _outside(child) if all(one is not other for other in found)]
    return found


def own_tensors(module: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of a module itself."""
    own = [*module._parameters.values(), *module._buffers.values()]
    return [tensor for tensor in own if tensor is not None]


def _refuse_shared(module: nn.Module, units: Sequence[nn.Module]) -> None:
    """Refuse a parameter of two units: each would gather, average and free it by itself."""
    are_units = {id(unit) for unit in units}
    units_by_name = {
        name: id(one) for name, one in module.named_modules(remove_duplicate=False) if id(one) in are_units
    }
    names: dict[int, list[str]] = {}
    owners: dict[int, dict[int | None, str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        around = max((unit for unit in units_by_name if name.startswith(f"{unit}.")), key=len, default="")
        names.setdefault(id(parameter), []).append(name)
        owners.setdefault(id(parameter), {}).setdefault(units_by_name.get(around), around)
    for key, found in owners.items():
        if len(found) > 1:
            places = " and ".join(f"`{one}`" if one else "what lies around the units" for one in found.values())
            message = (
                f"One parameter, {listed(names[key])}, belongs to two parts of the model that are sharded apart:"
                f" {places}. Let `auto_wrap_policy` make one unit of both, or of neither."
            )
            raise RuntimeError(message)
