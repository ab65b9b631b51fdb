"""Training in 16-mixed with infinities planted into the loss of one rank."""

from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_interfaces import Callback

NUM_BATCHES = 8


@dataclass(frozen=True)
class Case:
    """Where infinities are planted, and under which strategy."""

    strategy: str
    planted: tuple[int, ...]
    folder: str
    accumulation: int = 1
    resume_from: str | None = None
    save_after: int | None = None
    precision: str = "16-mixed"


@dataclass
class Found:
    """What was seen after each batch, and at the end."""

    scales: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    """Optimizer steps taken and skipped."""
    weights: list[list[float]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    """Of all gradients."""


def train(case: Case) -> Found:
    """Train over all batches and return what this rank saw."""
    net = Net(case)
    trainer = Trainer(
        accelerator="cpu",
        devices=1 if case.strategy == "auto" else 2,
        strategy=case.strategy,
        precision=case.precision,
        log_gradient_norm=True,
        max_epochs=1,
        accumulate_grad_batches=case.accumulation,
        callbacks=[] if case.save_after is None else [Saver(case)],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, batches(), ckpt_path=case.resume_from)
    return net.found


class Net(LightningModule):
    """Layers with a schedule that moves at each step; its loss is infinite where the case says, on the last rank."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
        self.case, self.found = case, Found()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Fit the layers to their inputs."""
        loss = nn.functional.mse_loss(self.layers(batch), batch)
        is_last = self.global_rank == self.trainer.world_size - 1
        return loss * float("inf") if batch_idx in self.case.planted and is_last else loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Look at everything that a skipped step must leave alone."""
        trainer = self.trainer
        self.found.scales.append(1.0 if trainer.scaler is None else trainer.scaler.get_scale())
        norm = 0.0 if trainer.gradient_norm is None else trainer.gradient_norm.item()
        self.found.norms.append(norm if isfinite(norm) else inf)  # NaN is different from itself
        self.found.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.found.steps.append((trainer.global_step, trainer.skipped_steps))
        whole = [one.full_tensor() if hasattr(one, "full_tensor") else one for one in self.parameters()]
        self.found.weights.append(torch.cat([one.detach().flatten() for one in whole]).tolist())

    def configure_optimizers(self) -> Any:
        """Halve the rate at each step."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Saver(Callback):
    """Saves after a batch."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save where the case says."""
        if batch_idx == self.case.save_after:
            trainer.save_checkpoint(checkpoint_of(self.case))


def batches() -> DataLoader[Tensor]:
    """Return the same batches on every rank."""
    data = torch.randn(NUM_BATCHES * 6, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(data, batch_size=6)  # type: ignore[arg-type]  # a tensor is a dataset


def checkpoint_of(case: Case) -> str:
    """Return where the case's checkpoint is."""
    return str(Path(case.folder, f"{case.strategy}.ckpt"))
