"""What each of some real processes gathers; in a module of its own, which a forked server can import by name."""

import os
import warnings
from collections.abc import Mapping, Sequence
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
from lt_fabric.state_saving import StateSaving


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


def seed_once_set_up(seeds: list[str | None]) -> tuple[str | None, list[str]]:
    """Return the seed that a rank goes by, once all have set up their processes with their own, and what it's told."""
    seed = seeds[int(os.environ["LOCAL_RANK"])]
    os.environ.pop("PL_GLOBAL_SEED", None)
    if seed is not None:
        os.environ["PL_GLOBAL_SEED"] = seed
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        set_up_process(assemble(resolve_hardware(accelerator="cpu", strategy=Joining())))
    torch.distributed.destroy_process_group()
    return os.environ.get("PL_GLOBAL_SEED"), [str(one.message) for one in told]


class CounterOfRank:
    """Something that each rank has a state of its own of."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen_by: tuple[int, int] | None = None

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]

    def load_rank_states(self, states: Sequence[Mapping[str, int]], *, rank: int, world_size: int) -> None:
        self.count = sum(state["count"] for state in states)
        self.seen_by = (rank, world_size)


def read_on_rank() -> dict[str, Any]:
    """Return what a checkpoint holds of something that counts its rank."""
    runtime = assemble(resolve_hardware(accelerator="cpu", strategy=Joining()))
    set_up_process(runtime)
    content = StateSaving(runtime, []).read({"counter": CounterOfRank(torch.distributed.get_rank())})
    torch.distributed.destroy_process_group()
    return content
