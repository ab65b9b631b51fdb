"""What one of several ranks trains, saves and resumes, in a module that processes can import."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchdata.stateful_dataloader import StatefulDataLoader
from torchmetrics import MeanMetric

from lt_checkpoint_io import AsyncCheckpointIO, DistributedCheckpointIO, TorchCheckpointIO
from lt_core import LightningModule, Trainer
from lt_fabric import Fabric, seed_everything
from lt_fabric.data import ResumableLoader
from lt_interfaces import Callback


class Items(Dataset[tuple[int, Tensor]]):
    """Items that say which they are."""

    def __init__(self, size: int = 26) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, torch.sin(torch.arange(4.0) + index)


@dataclass(frozen=True)
class Run:
    """How a run is made, and what becomes of it."""

    folder: str
    loader: str = "shuffled"
    devices: int = 2
    batch_size: int = 4
    accumulation: int = 1
    dropout: float = 0.5
    is_manual: bool = False
    validates: bool = True
    resume: str | None = None
    """The name of a file."""
    stop_after: int | None = None
    """The number of batches after which a run saves a file for the next, and ends."""
    save_at: Sequence[str] = ()
    """Where to save: a hook and its number, e.g. "on_train_batch_end 3"."""
    epochs: int = 2
    num_samples: int = 26
    checkpoint_io: str = "torch"

    @property
    def arguments(self) -> dict[str, Any]:
        kind = {"torch": TorchCheckpointIO, "async": AsyncCheckpointIO, "sharded": DistributedCheckpointIO}
        return {"use_distributed_sampler": self.loader != "own draws", "plugins": kind[self.checkpoint_io]()}


class Learns(LightningModule):
    """Learns with dropout, and keeps a record of all it sees."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(run.dropout), nn.Linear(8, 1))
        self.mean = MeanMetric()
        self.automatic_optimization = not run.is_manual
        self.run = run
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        ids, inputs = batch
        loss: Tensor = self.network(inputs).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(ids))
        self.mean(loss.detach(), len(ids))
        self.log("metric", self.mean, on_step=False, on_epoch=True)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(ids))
        self.seen.append((self.global_step, sorted(ids.tolist()), loss.item()))
        if not self.automatic_optimization:
            self._step_by_hand(loss, batch_idx)
        return loss

    def _step_by_hand(self, loss: Tensor, batch_idx: int) -> None:
        """Accumulate two batches, on each rank by itself until the second."""
        optimizer: Any = self.optimizers()
        if batch_idx % 2 == 0:
            optimizer.zero_grad()
            with optimizer.toggle_model(sync_grad=False):
                self.manual_backward(loss)
            return
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        ids, inputs = batch
        self.log("val", self.network(inputs + 0.1 * torch.randn_like(inputs)).square().mean(), batch_size=len(ids))

    def on_train_epoch_end(self) -> None:
        shown = {name: value.item() for name, value in self.trainer.callback_metrics.items()}
        self.seen.append(("epoch ends", shown.get("val")))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Saves(Callback):
    """Saves in the hooks that a run wants it in, and notes what had been seen by then."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.counts: dict[str, int] = {}
        self.seen_at: dict[str, int] = {}

    def _hear(self, trainer: Any, module: Learns, hook: str) -> None:
        self.counts[hook] = self.counts.get(hook, 0) + 1
        name = f"{hook} {self.counts[hook]}"
        if name in self.run.save_at:
            self.seen_at[name] = len(module.seen)
            trainer.save_checkpoint(file_of(self.run, name))
        if hook == "on_train_batch_end" and self.counts[hook] == self.run.stop_after:
            trainer.save_checkpoint(file_of(self.run, "handed over"))
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self._hear(trainer, module, "on_train_batch_end")

    def on_validation_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self._hear(trainer, module, "on_validation_batch_end")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self._hear(trainer, module, "on_train_epoch_end")

    def state_dict(self) -> dict[str, Any]:
        return {}


def file_of(run: Run, name: str) -> str:
    return str(Path(run.folder, f"{name.replace(' ', '-')}.ckpt"))


class OwnShare(RandomSampler):
    """Draws from the global generator of its rank."""


def loader_of(run: Run, rank: int) -> Any:
    if run.loader == "workers":
        # "fork" is what a process has by default that was started as a script, and not by a server.
        return DataLoader(
            Items(run.num_samples), run.batch_size, shuffle=True, num_workers=2, multiprocessing_context="fork"
        )
    if run.loader == "stateful":
        return StatefulDataLoader(Items(run.num_samples), run.batch_size, shuffle=True)
    if run.loader == "own draws":
        return DataLoader(Items(run.num_samples), run.batch_size, sampler=OwnShare(Items(), num_samples=12))
    return DataLoader(Items(run.num_samples), run.batch_size, shuffle=run.loader == "shuffled")


@dataclass(frozen=True)
class Record:
    """What one rank saw."""

    seen: list[Any]
    weights: list[float]
    metrics: dict[str, float]
    seen_at: dict[str, int]


def train(runs: Sequence[Run]) -> list[Record]:
    """Train in one process after another, or in the processes that this one belongs to; returns what this rank saw."""
    return [_train(run) for run in runs]


def _train(run: Run) -> Record:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    seed_everything(3 + rank if run.devices > 1 else 3, verbose=False)
    os.environ["PL_GLOBAL_SEED"] = "3"
    if run.resume is not None:
        seed_everything(77 + rank, verbose=False)  # nothing that's resumed may depend on it
        os.environ["PL_GLOBAL_SEED"] = "77"
    module, saves = Learns(run), Saves(run)
    trainer = Trainer(
        accelerator="cpu",
        devices=run.devices,
        strategy="ddp" if run.devices > 1 else "auto",
        max_epochs=run.epochs,
        accumulate_grad_batches=run.accumulation,
        callbacks=[saves],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        default_root_dir=run.folder,
        limit_val_batches=None if run.validates else 0,
        **run.arguments,
    )
    validation = DataLoader(Items(), 8)
    path = None if run.resume is None else file_of(run, run.resume)
    trainer.fit(module, loader_of(run, rank), validation, ckpt_path=path)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    weights = [weight for parameter in module.parameters() for weight in parameter.flatten().tolist()]
    return Record(module.seen, weights, metrics, saves.seen_at)


def variants(run: Run, names: Sequence[str]) -> list[Run]:
    return [run, *(replace(run, resume=name, save_at=()) for name in names)]


def loop_with_fabric(runs: Sequence[Run]) -> list[list[Any]]:
    """Train in loops of one's own; returns for each what this rank saw."""
    return [_loop_with_fabric(run) for run in runs]


def _loop_with_fabric(run: Run) -> list[Any]:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    seed_everything(rank + (3 if run.resume is None else 77), verbose=False)
    os.environ["PL_GLOBAL_SEED"] = "3" if run.resume is None else "77"
    fabric = Fabric(accelerator="cpu", devices=run.devices, strategy="ddp" if run.devices > 1 else "auto")
    return list(fabric.launch(_batches_of, run))


def _batches_of(fabric: Fabric, run: Run) -> list[Any]:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(run.dropout), nn.Linear(8, 1))
    torch.manual_seed(fabric.global_rank)
    model, optimizer = fabric.setup(network, torch.optim.SGD(network.parameters(), lr=0.1))
    loader = DataLoader(Items(run.num_samples), run.batch_size, shuffle=True)
    state = {"model": model, "optimizer": optimizer, "data": ResumableLoader(fabric.setup_dataloaders(loader))}
    if run.resume is not None:
        fabric.load(file_of(run, run.resume), state)
    data, seen = state["data"], []
    while data.epoch < run.epochs:
        for ids, inputs in data:
            loss = model(inputs).square().mean()
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            seen.append((data.epoch, data.batches_done, sorted(ids.tolist()), loss.item()))
            if f"batch {len(seen)}" in run.save_at:
                fabric.save(file_of(run, f"batch {len(seen)}"), state)
            if len(seen) == run.stop_after:
                return seen
    return seen
