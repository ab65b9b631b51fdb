"""Compiled runs that take milliseconds: a compiler that counts, and a module that logs."""

from pathlib import Path
from typing import Any

import torch
from tiny_runs import Journal, trainer_with
from torch import Tensor, nn
from torch._dynamo.utils import clear_compilation_metrics, counters, get_compilation_metrics
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer

ROWS = 11
"""Rows of an epoch: batches of four, of which the last one is short."""


class Graphs:
    """A compiler that changes nothing and counts its graphs, and how often they run."""

    def __init__(self) -> None:
        torch._dynamo.reset()
        counters.clear()
        clear_compilation_metrics()
        self.compiled = 0
        self.run = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.compiled += 1

        def run(*args: Any) -> Any:
            self.run += 1
            return graph.forward(*args)

        return run

    @property
    def breaks(self) -> dict[str, int]:
        """Why graphs were broken, and how often."""
        return dict(counters["graph_break"])

    @property
    def reasons(self) -> list[str]:
        """Why what was compiled wasn't enough for a later call."""
        return [str(reason) for metrics in get_compilation_metrics() for reason in [metrics.recompile_reason] if reason]


class Logs(LightningModule):
    """A linear layer that logs in every way there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        out = self(batch)
        loss = (out - 1).square().mean()
        self.log("loss", loss, prog_bar=True)
        self.log("both", loss * 2, on_step=True, on_epoch=True)
        self.log("mean", out.mean(), on_step=False, on_epoch=True)
        self.log("sum", out.sum(), on_step=False, on_epoch=True, reduce_fx="sum")
        self.log("min", out.min(), on_step=False, on_epoch=True, reduce_fx="min")
        self.log("max", out.max(), on_step=False, on_epoch=True, reduce_fx=torch.max)
        self.log("one element", out[:1], on_epoch=True)
        self.log("number", 0.5, on_epoch=True)
        self.log("weighted", out.mean(), on_epoch=True, batch_size=batch.shape[0] * 2)
        self.log_dict({"first": out[0, 0], "second": out[1, 0]}, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", (self(batch) - 1).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data() -> DataLoader[Tensor]:
    """Give an epoch's batches, the same every time."""
    rows = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
    return DataLoader(rows, batch_size=4)  # type: ignore[arg-type]  # a tensor is a dataset


def fitted(root: Path, module: Any, **arguments: Any) -> tuple[Trainer, Journal]:
    """Fit for three epochs; returns the trainer, and the logger with what it was sent."""
    journal = Journal()
    trainer = trainer_with(root, max_epochs=3, **{"limit_val_batches": 0, **arguments, "logger": journal})
    trainer.fit(module, data(), data())
    return trainer, journal
