"""Modules whose layers are computed by several ranks together: what's to be seen to beside dividing them."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle

from lt_interfaces.rng import capture_rng_state, restore_rng_state


def refuse_first_fsdp(module: nn.Module) -> None:
    """Refuse modules that were wrapped by FSDP's first version.

    Raises:
        TypeError: naming the module and what to use.
    """
    for name, one in module.named_modules():
        if isinstance(one, FullyShardedDataParallel):
            message = (
                f"`{name or type(module).__name__}` is wrapped in torch's FullyShardedDataParallel, whose flat"
                " parameters can't be divided any further. Shard it with `torch.distributed.fsdp.fully_shard` over"
                ' `self.device_mesh["data_parallel"]`, or leave it whole: what is left whole gets sharded.'
            )
            raise TypeError(message)


def is_divided(module: nn.Module, ranks: Iterable[int]) -> bool:
    """Say whether any parameter of a module is laid out over these ranks."""
    several = set(ranks)
    meshes = {one.device_mesh for one in module.parameters() if isinstance(one, DTensor)}
    return any(len(several.intersection(mesh.mesh.flatten().tolist())) > 1 for mesh in meshes)


def refuse_undivided(module: nn.Module, size: int) -> NoReturn:
    """Refuse a module that nothing was done about, though several ranks are to compute its layers.

    Raises:
        TypeError: saying how it's done.
    """
    kind = type(module).__name__
    message = (
        f"`tensor_parallel_size={size}`, but no layer of {kind} is divided over ranks. Override `configure_model` in"
        f' {kind} and call `parallelize_module(self.model, self.device_mesh["tensor_parallel"], ...)` there, or give'
        " the strategy `parallelize_fn`."
    )
    raise TypeError(message)


def laid_out_like_parameters(module: nn.Module) -> Iterator[RemovableHandle]:
    """Let the gradients of divided parameters be laid out as these are, as soon as they're there.

    A layer that sees a part of each sequence leaves a sum that's still to be made over ranks, and clipping by value or
    an optimizer would take the part for the whole. FSDP does the same for what it shards.
    """
    for one in _unsharded(module):
        for parameter in one.parameters(recurse=False):
            if isinstance(parameter.data, DTensor) and parameter.requires_grad:
                yield parameter.register_post_accumulate_grad_hook(_lay_out_gradient)  # type: ignore[no-untyped-call]


def share_random_numbers(group: Any, device: torch.device) -> None:
    """Let the ranks of a group draw the same random numbers from now on: those of its first rank. Collective.

    Ranks that compute one layer together have to drop the same activations.
    """
    accelerator = None if device.type == "cpu" else torch.get_device_module(device)
    own = [capture_rng_state(), None if accelerator is None else accelerator.get_rng_state(device)]
    packed = BytesIO()
    torch.save(own, packed)  # plain pickle can't unpack a tensor of such numbers as numpy has
    sent = [packed.getvalue()]
    dist.broadcast_object_list(sent, group=group, group_src=0, device=device)
    generators, of_device = torch.load(BytesIO(sent[0]), weights_only=True)
    restore_rng_state(generators)
    if accelerator is not None:
        accelerator.set_rng_state(of_device.cpu(), device)  # each rank has a device of another number


def _lay_out_gradient(parameter: Any) -> None:
    """Lay the gradient of a DTensor out as that is; torch types both as plain tensors."""
    if parameter.grad is not None and parameter.grad.placements != parameter.placements:
        parameter.grad = parameter.grad.redistribute(placements=parameter.placements)


def _unsharded(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that lie in no sharded one."""
    if isinstance(module, FSDPModule):
        return
    yield module
    for child in module.children():
        yield from _unsharded(child)
