"""The script that is killed: it trains with the settings of a cell and writes down all that happens.

Started again in the same folder, it goes on from the newest whole checkpoint there, as users' scripts do. It leaves

- ``trace.jsonl``: a line for each batch, each set of logged values and each start, floats as hexadecimal numbers;
- ``run/version_0/metrics.csv``: what the CSV logger got;
- ``weights.pt`` and ``outcome.json``, when it's done;
- ``counts.json``: how often it reached each moment at which it can be killed.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as schedules

from kill_matrix.cells import Cell
from kill_matrix.data import SIZE, training_loader, validation_loader
from kill_matrix.kills import Executioner
from lt_callbacks import EarlyStopping, ModelCheckpoint
from lt_checkpoint_io import AsyncCheckpointIO
from lt_core import LightningModule, Trainer
from lt_datamodules import LightningDataModule
from lt_fabric import seed_everything
from lt_interfaces.callback import Callback
from lt_interfaces.commit import is_whole
from lt_loggers import CSVLogger

NEWEST = "newest.ckpt"
# Down and up again: EarlyStopping's patience ends the run after the epoch of index 4, after waiting twice in vain.
_WOBBLE = (3.0, 2.0, 2.5, 1.5, 1.75, 1.6, 1.0)


class Trace:
    """Lines that survive the process being killed right after; several attempts write to one file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, kind: str, at: list[int], **fields: object) -> None:
        """Write a line, which later ones with the same ``kind`` and ``at`` must repeat."""
        os.write(self._descriptor, (json.dumps({"kind": kind, "at": at, **fields}) + "\n").encode())


@dataclass(frozen=True)
class Scene:
    """Where and how a run takes place."""

    cell: Cell
    folder: Path
    trace: Trace
    executioner: Executioner


class Module(LightningModule):
    """A small network with dropout; each batch that it sees is written down."""

    seen: Tensor
    heard: Tensor

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.body = nn.Sequential(nn.Linear(SIZE, 12), nn.Tanh(), nn.Dropout(0.3 if scene.cell.dropout else 0.0))
        self.head = nn.Linear(12, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("heard", torch.zeros((), dtype=torch.int64))
        self.automatic_optimization = not scene.cell.manual
        self.largest: Any = _metric(scene.cell)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen += 1
        self.scene.executioner.reach("forward")
        loss, ids = self._loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(ids))
        self.log("largest_loss", loss, on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(ids))
        if self.scene.cell.special.habit.startswith("metric"):
            self.largest.update(loss.item())
            self.log("largest", self.largest, on_step=False, on_epoch=True)
        rates = [group["lr"] for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        where = {"epoch": self.current_epoch, "batch_idx": batch_idx, "step": self.global_step}
        self.scene.trace.write("batch", [int(self.seen)], **where, ids=ids, loss=_exact(loss), rates=_all_exact(rates))
        if self.scene.cell.manual:
            self._step_by_hand(loss, batch_idx)
        return loss

    def on_before_backward(self, loss: Tensor) -> None:
        self.scene.executioner.reach("before backward")

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.scene.executioner.reach("before an optimizer step")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.scene.cell.special.habit == "state in hooks":
            self.heard += batch_idx + 1

    def on_train_epoch_end(self) -> None:
        if self.scene.cell.special.habit == "state in hooks":
            self.heard *= 2
        if self.scene.cell.manual and self.scene.cell.scheduler == "epoch":
            self._step_schedulers()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.scene.executioner.reach("validation")
        loss, ids = self._loss(batch)
        if self.scene.cell.special.habit == "random validation":
            loss = loss + torch.rand(())
        self.log("val_loss", loss, batch_size=len(ids))
        self.log("val_loss_of_batch", loss, on_step=True, on_epoch=False, batch_size=len(ids))
        self.log("wobble", _WOBBLE[min(self.current_epoch, len(_WOBBLE) - 1)], batch_size=len(ids))
        if not self.trainer.sanity_checking:
            self.scene.trace.write("validation batch", [int(self.seen), batch_idx], ids=ids, loss=_exact(loss))

    def configure_optimizers(self) -> Any:
        if self.scene.cell.manual:
            optimizers = [SGD(self.body.parameters(), lr=0.05, momentum=0.9), Adam(self.head.parameters(), lr=0.02)]
            return optimizers, [schedules.ExponentialLR(optimizer, 0.97) for optimizer in optimizers]
        optimizer = Adam(self.parameters(), lr=0.02)
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(optimizer)}

    def _schedule(self, optimizer: Optimizer) -> dict[str, Any]:
        if self.scene.cell.scheduler == "plateau":
            watching = schedules.ReduceLROnPlateau(optimizer, patience=0)
            return {"scheduler": watching, "monitor": "wobble", "interval": "epoch"}
        if self.scene.cell.scheduler == "cycle":
            return {"scheduler": schedules.OneCycleLR(optimizer, 0.05, total_steps=100), "interval": "step"}
        return {"scheduler": schedules.ExponentialLR(optimizer, 0.97), "interval": self.scene.cell.scheduler}

    def _loss(self, batch: Any) -> tuple[Tensor, list[int]]:
        """Return the loss of a batch, or of one batch of each loader, and which samples are in it."""
        parts = list(batch.values()) if isinstance(batch, Mapping) else [batch]
        parts = [part for part in parts if part is not None]
        losses = [F.mse_loss(self.head(self.body(inputs)), targets) for _, inputs, targets in parts]
        return torch.stack(losses).sum(), [int(index) for indices, _, _ in parts for index in indices]

    def _step_by_hand(self, loss: Tensor, batch_idx: int) -> None:
        self.manual_backward(loss / self.scene.cell.accumulation)
        if (batch_idx + 1) % self.scene.cell.accumulation and not self.trainer.is_last_batch:
            return
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        if self.scene.cell.scheduler == "step":
            self._step_schedulers()

    def _step_schedulers(self) -> None:
        for schedule in self.lr_schedulers():
            schedule.step()


class Largest:
    """A metric object: recognised by what it can do."""

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float) -> None:
        """Take a value."""
        self.value = max(self.value, value)

    def compute(self) -> float:
        """Return the largest so far."""
        return self.value

    def reset(self) -> None:
        """Begin anew."""
        self.value = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return what it knows."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take it back."""
        self.value = state["value"]


def _metric(cell: Cell) -> Any:
    """Return a metric object: ours, or one of the library that many use."""
    if cell.special.habit != "metric of torchmetrics":
        return Largest()
    from torchmetrics import MaxMetric  # only for the cell about it

    return MaxMetric()


class Recorder(Callback):
    """Writes down what callbacks see, before anything is saved in the same hook."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.scene.trace.write("start", [os.getpid()], seen=int(pl_module.seen))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._write("metrics after batch", trainer, pl_module)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._write("metrics after validation", trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._write("metrics after epoch", trainer, pl_module)

    def _write(self, kind: str, trainer: Any, pl_module: Any) -> None:
        values = {name: _exact(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.scene.trace.write(kind, [int(pl_module.seen)], step=trainer.global_step, **values)


class Saver(Callback):
    """Saves from within a hook, as often as the cell says."""

    def __init__(self, scene: Scene) -> None:
        self.saving = scene.cell.special.saving
        self.path = scene.folder / NEWEST

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.saving == "batches" or (self.saving == "steps" and batch_idx % 2):
            trainer.save_checkpoint(self.path)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.saving == "validation" and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)


class Scaffold(Callback):
    """Is a moment to be killed at in every hook around the saves."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.scene.executioner.reach("batch start")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.scene.executioner.reach("batch end")

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.scene.executioner.reach("epoch start")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.scene.executioner.reach("epoch end")


class Data(LightningDataModule):
    """Gives the loaders of a cell, and has a state of its own."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.num_given = 0

    def train_dataloader(self) -> Any:
        self.num_given += 1
        return training_loader(self.cell)

    def val_dataloader(self) -> Any:
        return validation_loader()

    def state_dict(self) -> dict[str, Any]:
        return {"num_given": self.num_given}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_given = state_dict["num_given"]


def train(cell: Cell, folder: Path, executioner: Executioner) -> None:
    """Train until done, from the beginning or from the newest whole checkpoint in the folder."""
    warnings.simplefilter("ignore")
    seed_everything(7, verbose=False)
    scene = Scene(cell, folder, Trace(folder / "trace.jsonl"), executioner)
    module, trainer = Module(scene), _trainer(scene)
    if any(folder.rglob("last.ckpt")) or _newest(folder) is not None:
        torch.rand(5)  # a script may do anything first: what follows must come from the checkpoint
    executioner.watch_files()
    ckpt_path = "last" if _saves_last(cell) else _newest(folder)
    if cell.special.habit == "datamodule":
        trainer.fit(module, datamodule=Data(cell), ckpt_path=ckpt_path)
    else:
        trainer.fit(module, training_loader(cell), validation_loader(), ckpt_path=ckpt_path)
    _leave_results(scene, trainer)


def _trainer(scene: Scene) -> Trainer:
    cell = scene.cell
    arguments: dict[str, Any] = {}
    if cell.special.loader == "random items, seeded":
        arguments["seed_items"] = True
    if cell.special.habit == "saves in the background":
        arguments["plugins"] = [AsyncCheckpointIO()]
    if not cell.manual:
        arguments["accumulate_grad_batches"] = cell.accumulation
    return Trainer(
        accelerator="cpu",
        default_root_dir=scene.folder,
        max_epochs=7 if cell.monitored else 3,
        logger=CSVLogger(scene.folder, name="run", version=0),
        log_every_n_steps=2,
        callbacks=list(_callbacks(scene)),
        enable_checkpointing=cell.monitored,
        enable_progress_bar=False,
        enable_model_summary=False,
        **(arguments | dict(cell.special.arguments)),
    )


def _callbacks(scene: Scene) -> Iterator[Callback]:
    cell, folder = scene.cell, scene.folder
    yield Recorder(scene)
    yield Scaffold(scene)
    if not _saves_last(cell):
        yield Saver(scene)
    if not cell.monitored:
        return
    yield EarlyStopping("wobble", patience=2)
    yield ModelCheckpoint(folder / "best", monitor="val_loss", save_top_k=2)
    if cell.special.saving == "epochs":
        yield ModelCheckpoint(folder / "epochs", save_last=True)
    else:
        every = 1 if cell.special.saving == "every step" else 2
        yield ModelCheckpoint(folder / "steps", every_n_train_steps=every, save_last=True)


def _saves_last(cell: Cell) -> bool:
    return cell.monitored and cell.special.saving in ("steps", "every step", "epochs")


def _newest(folder: Path) -> Path | None:
    path = folder / NEWEST
    return path if is_whole(path) else None


def _leave_results(scene: Scene, trainer: Trainer) -> None:
    outcome: dict[str, Any] = {"epochs": trainer.current_epoch, "steps": trainer.global_step}
    for callback in trainer.callbacks:
        if isinstance(callback, ModelCheckpoint):
            scores = sorted(map(_exact, callback.best_k_models.values()))
            outcome[f"scores of {Path(str(callback.dirpath)).name}"] = scores
        if isinstance(callback, EarlyStopping):
            outcome["stopping"] = repr(callback.state_dict())
    (scene.folder / "counts.json").write_text(json.dumps(scene.executioner.counts))
    (scene.folder / "outcome.json").write_text(json.dumps(outcome))
    torch.save(trainer.lightning_module.state_dict(), scene.folder / "weights.pt")


def _exact(value: Any) -> str:
    return float(value).hex()


def _all_exact(values: list[float]) -> list[str]:
    return [_exact(value) for value in values]
