"""What ranks keep on NVMe, in a module that their processes import by name."""

from pathlib import Path
from typing import Any

import torch
from engine_ranks import connected, set_up, train
from small_gpt import SmallGPT, loss_of
from torch import Tensor

from lt_interfaces import MisconfigurationException

OFFLOADED: dict[str, Any] = {"stage": 3, "offload_optimizer": True, "offload_parameters": True}


class Wide(SmallGPT):
    """Has parameters of which a half is more than a MiB: DeepSpeed leaves smaller ones in memory."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            super().__init__(width=512, num_blocks=1)

    def training_step(self, batch: Tensor, batch_idx: int = 0) -> Tensor:
        return loss_of(self, batch)


def on_nvme(folder: str) -> dict[str, Any]:
    """Return steps and states with the CPU's memory and with files, what lies in these, and why nothing's loaded."""
    steps: list[list[Any]] = []
    states: list[Any] = []
    files = {"offload_optimizer_device": "nvme", "offload_params_device": "nvme", "nvme_path": folder}
    for case in (OFFLOADED, {**OFFLOADED, **files, "params_buffer_size": 1_100_000, "max_in_cpu": 0}):
        strategy = connected(**case)
        wrapped, optimizer = set_up(strategy, Wide())
        before = train(strategy, wrapped, optimizer, steps=5, clip=0.5)
        states.append((strategy.module_state(wrapped), strategy.optimizer_state(wrapped, optimizer)))
        steps.append([*before, *train(strategy, wrapped, optimizer, steps=2, start=5, clip=0.5)])
        strategy.barrier()
        strategy.teardown()
    kept = {path.parents[1].name for path in Path(folder).glob("**/*.swp")}
    wrapped, optimizer = set_up(fresh := connected(**case), Wide())
    weights, optimizer_state = states[-1]
    fresh.load_module_state(wrapped, weights)
    told = ""
    try:
        fresh.load_optimizer_state(wrapped, optimizer, optimizer_state)
    except MisconfigurationException as error:
        told = str(error)
    return {"steps": steps, "states": states, "files": kept, "told": told}
