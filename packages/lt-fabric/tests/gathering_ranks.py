"""What each of some real processes gathers; in a module of its own, which a forked server can import by name."""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from lt_fabric.gathering import gather_objects


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


def gather_in_process() -> list[Any]:
    """Gather an object whose size differs by rank, and return what came of all."""
    gloo, whole = Gloo(), torch.arange(100_000)
    own = {"rank": gloo.global_rank, "text": "é" * 1000 * gloo.global_rank, "part": whole[: gloo.global_rank + 1]}
    gathered = [*gather_objects(gloo, own), gather_objects(gloo, Path(f"/{gloo.global_rank}"))]
    torch.distributed.destroy_process_group()
    return gathered
