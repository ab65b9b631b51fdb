"""Sharded runs that are saved and gone on with, in a module that ranks import by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sharding_ranks import Net, Run, new_trainer, training_data
from small_gpt import loss_of
from torch import Tensor

from lt_interfaces import Callback


class ByHand(Net):
    """Accumulates two batches by itself, with gradients averaged over ranks each time."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:  # type: ignore[override]  # returns no loss
        optimizer = self.optimizers()
        loss = loss_of(self.model, batch) * self.dropout(torch.ones(1000)).mean()
        self.outcome.losses.append(loss.item())
        self.manual_backward(loss)
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()


class SavesAfterBatch(Callback):
    """Saves after a batch, whether or not a step was taken in it."""

    def __init__(self, path: str, batch_idx: int) -> None:
        self.path = path
        self.batch_idx = batch_idx

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch_idx:
            trainer.save_checkpoint(self.path)


SAVED_AFTER = 2
WAYS = {
    "dropout, whole state": Run("", "fsdp", dropout=0.2),
    "dropout, sharded state": Run("", "fsdp, sharded state", dropout=0.2),
    "within a window": Run("", "fsdp, sharded state", dropout=0.2, accumulation=2),
    "offloaded": Run("", "fsdp, offloaded", dropout=0.2),
    "gradients of its own": Run("", "fsdp, sharded state", dropout=0.2),
}


def go_on(folder: str) -> dict[str, tuple[list[float], list[float]]]:
    """Train in each way, go on from what was saved; returns this rank's losses of both."""
    found = {}
    for number, (way, run) in enumerate(WAYS.items()):
        run = replace(run, folder=folder, steps=4, num_blocks=2)
        kind = ByHand if way == "gradients of its own" else Net
        path = str(Path(folder, f"{number}.ckpt"))
        found[way] = _losses(kind(run), path, None), _losses(kind(run), path, path)
    return found


def _losses(module: Net, path: str, resume: str | None) -> list[float]:
    torch.manual_seed(7 if resume else 5)  # nothing that's resumed may depend on it
    trainer = new_trainer(module.run, 2)
    if resume is None:
        trainer.callbacks.append(SavesAfterBatch(path, SAVED_AFTER))
    trainer.fit(module, training_data(2), ckpt_path=resume)
    return module.outcome.losses
