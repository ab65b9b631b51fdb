"""Jobs that train, save and resume in a precision, in a module that ranks import by name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader

from lt_core import Callback, LightningModule, Trainer
from lt_interfaces import Precision
from lt_interfaces.testing import RegressionDataset
from lt_interfaces.testing.models import whole

Batch = tuple[Tensor, Tensor]


class Regressor(LightningModule):
    """Layers that every engine takes, and norms between them."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Tanh(), nn.Linear(64, 16))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("validated", self.loss(batch))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        prediction: Tensor = self.layers(batch[0])
        return prediction

    def configure_optimizers(self) -> Optimizer:
        return AdamW(self.parameters(), lr=1e-2)

    def loss(self, batch: Batch) -> Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self.layers(inputs).mean(1, keepdim=True), targets)


class SaveAtStep(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def loader() -> DataLoader[Batch]:
    return DataLoader(RegressionDataset(64, length=64), batch_size=8)


def trainer(precision: str | Precision = "32-true", **arguments: Any) -> Trainer:
    how = {"precision": precision} if isinstance(precision, str) else {"plugins": precision}
    quiet = ("enable_checkpointing", "logger", "enable_progress_bar", "enable_model_summary")
    return Trainer(accelerator="cpu", **how, **dict.fromkeys(quiet, False), **arguments)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights and buffers, whole, as plain tensors."""
    return {name: whole(one).detach().clone() for name, one in module.state_dict().items() if isinstance(one, Tensor)}


@dataclass(frozen=True)
class Outcome:
    """What a run that went on and one that was resumed in its middle left behind."""

    weights: tuple[dict[str, Tensor], dict[str, Tensor]]
    validated: tuple[Tensor, Tensor]
    kinds: frozenset[str]
    """The names of the classes of layers."""


def going_on_and_resumed(precision: str | Precision, folder: Path, **arguments: Any) -> Outcome:
    """Train for 10 steps, and again from a checkpoint of the third, into a module that began with other weights."""
    runs, path = [], folder / "saved.ckpt"
    for seed, resume in ((0, None), (1, path)):
        module = Regressor(seed)
        run = trainer(precision, max_steps=10, callbacks=[SaveAtStep(3, path)], **arguments)
        run.fit(module, loader(), loader(), ckpt_path=resume)
        runs.append((weights(module), run.callback_metrics["validated"]))
    kinds = frozenset(type(layer).__name__ for layer in module.layers)
    return Outcome((runs[0][0], runs[1][0]), (runs[0][1], runs[1][1]), kinds)


def outcomes_on_ranks(precisions: tuple[str, ...], folder: Path, strategy: str) -> dict[str, Outcome]:
    """Return `going_on_and_resumed` of each precision, in one job of two ranks."""
    found = {}
    for name in precisions:
        (folder / name).mkdir(exist_ok=True)
        found[name] = going_on_and_resumed(name, folder / name, strategy=strategy, devices=2)
    return found


def validated_on_ranks(precision: str) -> Any:
    """Return what two ranks validate together, of the same module."""
    run = trainer(precision, strategy="ddp", devices=2)
    return run.validate(Regressor(seed=0), loader(), verbose=False)


def predictions_of_ranks_that_began_differently(precisions: tuple[str, ...]) -> dict[str, Tensor]:
    """Return what each precision predicts after two steps of DDP, where each rank made the module with its own seed."""
    found = {}
    for name in precisions:
        run = trainer(name, strategy="ddp", devices=2, max_steps=2)
        module = Regressor(seed=int(os.environ["LOCAL_RANK"]))
        run.fit(module, loader(), loader())
        with torch.no_grad():
            found[name] = module.layers(torch.ones(1, 64))
    return found
