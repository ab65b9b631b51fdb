"""A run that tuners can try settings in, without a Trainer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from lt_interfaces.states import TrainerFn, TrainerState


class TrialRun:
    """Satisfies what tuners ask of a run; a step's loss is what ``loss`` makes of the run."""

    def __init__(self, loss: Callable[["TrialRun"], float] = lambda run: 1.0, **facts: Any) -> None:
        self._loss = loss
        self.optimizers = [SGD([nn.Parameter(torch.zeros(1))], lr=0.5)]
        self.lr_scheduler_configs: list[Any] = []
        self.state = TrainerState(fn=TrainerFn.FITTING)
        self.fast_dev_run: int | bool = False
        self.ckpt_path: str | None = None
        self.world_size = 1
        self.training = False
        self.datamodule: Any = None
        self.train_dataloader: Any = None
        self.steps: list[int] = []
        vars(self).update(facts)

    @property
    def rate(self) -> float:
        """The learning rate that a step would be taken with."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    @contextmanager
    def trial_run(self, steps: int) -> Iterator[Iterator[Tensor]]:
        """Give losses, count the steps, and put the rate back."""
        before, self.train_dataloader = self.rate, self.make_loader()
        self.steps.append(0)
        try:
            yield self._losses(steps)
        finally:
            self.train_dataloader = None
            self.optimizers[0].param_groups[0]["lr"] = before

    def make_loader(self) -> Any:
        """Return the loaders of a trial."""

    def _losses(self, steps: int) -> Iterator[Tensor]:
        for _ in range(steps):
            self.steps[-1] += 1
            yield torch.tensor(self._loss(self))


class LoadingRun(TrialRun):
    """A run whose loaders follow the module's batch size, with memory for batches up to a size."""

    def __init__(self, module: SimpleNamespace, holds: int, *, samples: int = 1000, **facts: Any) -> None:
        super().__init__(self._step, **facts)
        self.module, self.holds, self.samples = module, holds, samples
        self.sizes: list[int] = []

    def make_loader(self) -> Any:
        return SimpleNamespace(batch_size=self.module.batch_size, dataset=range(self.samples))

    def _step(self, run: TrialRun) -> float:
        size = run.train_dataloader.batch_size
        if size not in self.sizes:
            self.sizes.append(size)
        if size > self.holds:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.OutOfMemoryError(message)
        return 1.0
