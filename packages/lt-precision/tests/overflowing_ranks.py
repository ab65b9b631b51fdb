"""Two ranks with sharded and plain parameters in one optimizer, in a module that their processes import by name."""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lt_precision.mixed import MixedPrecision


def skipped_together(num_sharded: int, infinite: int | None) -> tuple[bool, float, bool]:
    """Return whether the step was skipped, the scale after it, and whether weights have changed.

    Args:
        num_sharded: how many of the two layers are sharded.
        infinite: in which layer the last rank has an infinite gradient.
    """
    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    mesh = init_device_mesh("cpu", (2,))
    for layer in module[:num_sharded]:
        fully_shard(layer, mesh=mesh)
    precision = MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=1024.0))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    precision.backward(module(torch.ones(1, 4)).sum(), Tensor.backward)
    if infinite is not None and rank == 1:
        _own(module[infinite].weight.grad)[0, 0] = torch.inf
    before = [_own(parameter).detach().clone() for parameter in module.parameters()]
    precision.optimizer_step(optimizer, lambda: None, lambda _: None)
    after = [_own(parameter) for parameter in module.parameters()]
    has_changed = any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert precision.scaler is not None
    found = precision.step_was_skipped, precision.scaler.get_scale(), has_changed
    dist.destroy_process_group()
    return found


def _own(tensor: Tensor) -> Tensor:
    own: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own
