"""What each of some real processes gathers; in a module of its own, which a forked server can import by name."""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from lt_fabric.assemble import assemble
from lt_fabric.gathering import gather_objects
from lt_fabric.hardware import resolve_hardware
from lt_fabric.runtime import set_up_process
from lt_fabric.single_device import SingleDeviceStrategy


class Gloo:
    """The collectives of a strategy, as torch offers them; joins the group when made."""

    root_device = torch.device("cpu")

    def __init__(self) -> None:
        os.environ["RANK"] = os.environ["LOCAL_RANK"]
        torch.distributed.init_process_group("gloo")
        self.global_rank = torch.distributed.get_rank()
        self.world_size = torch.distributed.get_world_size()

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, tensor)
        return torch.stack(parts)


class Joining(SingleDeviceStrategy):
    """Joins the other ranks; each has its own device."""

    world_size = 2

    def setup_environment(self) -> None:
        self.all_gather = Gloo().all_gather


def gather_in_process() -> list[Any]:
    """Gather an object whose size differs by rank, and return what came of all."""
    gloo, whole = Gloo(), torch.arange(100_000)
    own = {"rank": gloo.global_rank, "text": "é" * 1000 * gloo.global_rank, "part": whole[: gloo.global_rank + 1]}
    gathered = [*gather_objects(gloo, own), gather_objects(gloo, Path(f"/{gloo.global_rank}"))]
    torch.distributed.destroy_process_group()
    return gathered


def seed_once_set_up(seeds: list[str | None]) -> str | None:
    """Return the seed that a rank goes by, once all have set up their processes with seeds of their own."""
    seed = seeds[int(os.environ["LOCAL_RANK"])]
    if seed is not None:
        os.environ["PL_GLOBAL_SEED"] = seed
    set_up_process(assemble(resolve_hardware(accelerator="cpu", strategy=Joining())))
    torch.distributed.destroy_process_group()
    return os.environ.get("PL_GLOBAL_SEED")
