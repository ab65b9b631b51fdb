"""Leaving each rank of a pipeline its own stage alone: what others have stays as a name, without memory."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from lt_fsdp.meta import bring, fill_from_meta
from lt_fsdp.pipeline import Pipeline, Schedule
from lt_fsdp.sharding import own_tensors, send_from_first


def lay_out_stages(
    module: nn.Module,
    mesh: DeviceMesh,
    *,
    device: torch.device,
    schedule: Schedule,
    num_microbatches: int,
    initialise: bool,
) -> None:
    """Leave this rank its stage of the pipeline in a module, and let that run the stages of all. Collective.

    Parameters of other stages stay on the meta device, so that their names and numbers are the same on every rank.

    Args:
        module: is the pipelined module or has it in it; whole, on the meta device, or laid out in an earlier run.
        mesh: the ranks of the pipeline.
        device: of this rank.
        schedule: which of torch's schedules.
        num_microbatches: how many a batch is cut into.
        initialise: ``False`` leaves open the values of what was made on the meta device.

    Raises:
        TypeError: there is no such module, or several.
        RuntimeError: its stages don't have each parameter once.
    """
    pipelined = _pipelined(module, mesh.size())
    stages = pipelined.pipeline_stages(mesh.size())
    _check(module, pipelined, stages=stages, num_stages=mesh.size())
    own, others = stages[mesh.get_local_rank()], _outside(module, pipelined)
    if not isinstance(vars(pipelined).get("forward"), Pipeline):
        if initialise:
            send_whole(module, mesh, device)
        _leave_only(pipelined, own)
        fill_from_meta([*others, *own.modules()], device, initialise=initialise)
    own.to(device)
    for one in others:
        bring(one, device)
    vars(pipelined)["forward"] = Pipeline(
        pipelined, own, group=mesh.get_group(), schedule=schedule, num_microbatches=num_microbatches
    )


@torch.no_grad()
def send_whole(module: nn.Module, mesh: DeviceMesh, device: torch.device) -> None:
    """Give a module that lies anywhere the weights of the first rank, one after the other. Collective."""
    for one in module.modules():
        for tensor in own_tensors(one):
            if not tensor.is_meta:
                sent = tensor.to(device)
                send_from_first(mesh, [sent])
                tensor.copy_(sent)


def _pipelined(module: nn.Module, num_stages: int) -> Any:
    found = [one for one in module.modules() if callable(getattr(one, "pipeline_stages", None))]
    if len(found) == 1 and callable(getattr(found[0], "pipeline_loss", None)):
        return found[0]
    kinds = ", ".join(type(one).__name__ for one in found) or "none"
    message = (
        f"`pipeline={num_stages}` needs one module in {type(module).__name__} with the methods `pipeline_stages` and"
        f" `pipeline_loss` (see `lt_fsdp.pipeline.Pipelined`); with the first there is {kinds}."
    )
    raise TypeError(message)


def _outside(module: nn.Module, pipelined: nn.Module) -> list[nn.Module]:
    inside = {id(one) for one in pipelined.modules()}
    return [one for one in module.modules() if id(one) not in inside]


def _check(module: nn.Module, pipelined: nn.Module, *, stages: Sequence[nn.Module], num_stages: int) -> None:
    kind = type(pipelined).__name__
    if len(stages) != num_stages:
        message = f"`{kind}.pipeline_stages({num_stages})` returned {len(stages)} stages. Return one for each rank."
        raise RuntimeError(message)
    holders = Counter(id(parameter) for stage in stages for parameter in stage.parameters())
    for name, parameter in pipelined.named_parameters():
        if (number := holders[id(parameter)]) != 1:
            message = (
                f"The parameter `{name}` of {kind} is in {number} of the {num_stages} stages, but the rank of one stage"
                " has it. Let `pipeline_stages` put it into exactly one."
            )
            raise RuntimeError(message)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and id(parameter) not in holders:
            message = (
                f"The parameter `{name}` lies outside of {kind}, whose stages are all that a pipeline trains. Move it"
                " into a stage, or freeze it."
            )
            raise RuntimeError(message)


def _leave_only(pipelined: nn.Module, own: nn.Module) -> None:
    """Move what other stages have to the meta device."""
    kept = {id(one) for one in (*own.parameters(), *own.buffers())}
    for one in pipelined.modules():
        parameters = {name: tensor for name, tensor in one._parameters.items() if tensor is not None}
        for name, empty in _without_memory(parameters, kept).items():
            one._parameters[name] = nn.Parameter(empty, parameters[name].requires_grad)
        one._buffers.update(_without_memory(one._buffers, kept))


def _without_memory(tensors: Mapping[str, Tensor | None], kept: Container[int]) -> dict[str, Tensor]:
    foreign = {name: tensor for name, tensor in tensors.items() if tensor is not None and id(tensor) not in kept}
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in foreign.items()}
