"""A rank is stuck where others wait for it in a group of their own, in a module that ranks import by name."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from sharded_evaluation_ranks import new_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule
from lt_fsdp import ModelParallelStrategy, ParallelPlan
from lt_interfaces import Callback

PLAN: Final = ParallelPlan(shard=2, tensor=2, tensor_styles={"network.0": "colwise", "network.2": "rowwise"})
STUCK: Final = 3
"""The rank that stops in its third step."""
TIMEOUT_SECONDS: Final = 4


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.began = 0.0
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 2:
            self.began = time.monotonic()
        if batch_idx == 2 and self.global_rank == STUCK:
            time.sleep(100)
        return self.network(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Hears(Callback):
    """Notes that it heard of the failure."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        Path(self.folder, str(trainer.global_rank)).write_text(type(exception).__name__)


def wait_for_a_stuck_rank(folder: str) -> tuple[str, float]:
    """Return what this rank's fit raised, and how many seconds after the step at which one rank stops."""
    net, loader = Net(), DataLoader(torch.randn(64, 4), batch_size=2)
    strategy = ModelParallelStrategy(plan=PLAN, timeout=timedelta(seconds=TIMEOUT_SECONDS))
    try:
        new_trainer(strategy, max_epochs=1, callbacks=[Hears(folder)]).fit(net, loader)
    except Exception as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - net.began
    return "nothing", 0.0
