"""Runs that take milliseconds: a module, data, and parts that remember what happened to them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.hooks import HOOKS, Hearer
from lt_interfaces.logger import Logger
from lt_interfaces.roles import Role

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def rows(num_batches: int = 4, batch_size: int = 2, *, shuffle: bool = False, seed: int = 0) -> DataLoader[Tensor]:
    """Give batches of rows of three numbers, the same every time."""
    data = torch.randn(num_batches * batch_size, 3, generator=torch.Generator().manual_seed(seed))
    return DataLoader(data, batch_size=batch_size, shuffle=shuffle)  # type: ignore[arg-type]  # a tensor is a dataset


class Batches:
    """A loader that has its batches at hand, so that a test can look at each."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = list(batches)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, place: Any) -> Any:
        return self._batches[place]


class Net(LightningModule):
    """A linear layer; `outcome` decides what its training step returns."""

    lr = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def loss(self, batch: Tensor) -> Tensor:
        return (self.layer(batch) - 1).square().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.layer(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    @property
    def weights(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.parameters()).detach().clone()


class ManualNet(Net):
    """Steps its optimizers by itself."""

    num_optimizers = 1

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(self.num_optimizers)]


class Journal(Logger):
    """A logger that remembers."""

    name = "journal"
    version = 0

    def __init__(self) -> None:
        self.sent: list[tuple[int | None, dict[str, float]]] = []
        self.endings: list[str] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.sent.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Remember nothing."""

    def finalize(self, status: str) -> None:
        self.endings.append(status)


class Heard(Callback):
    """Remembers the names of the hooks it hears, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def count(self, name: str) -> int:
        return self.names.count(name)


def _hearing(name: str) -> Any:
    def hear(self: Heard, *args: Any, **kwargs: Any) -> None:
        self.names.append(name)

    return hear


CALLBACK_EVENTS = [hook.name for hook in HOOKS if Hearer.CALLBACK in hook.heard_by]
for _name in CALLBACK_EVENTS:
    setattr(Heard, _name, _hearing(_name))


class Saver(Callback):
    """Saves a checkpoint when a hook of a given name was heard for the n-th time."""

    def __init__(self, path: Path, hook: str, nth: int = 1) -> None:
        self.path = path
        self.left = nth
        setattr(self, hook, self._hear)

    def _hear(self, trainer: Any, *args: Any) -> None:
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)


class Keeper(Callback):
    """Stands for a checkpoint callback."""

    role = Role.CHECKPOINT

    def __init__(self, best: str = "", dirpath: Any = None) -> None:
        self.best_model_path = best
        self.last_model_path = ""
        self.dirpath = dirpath


def trainer_with(root: Path, *callbacks: Any, **arguments: Any) -> Trainer:
    """Make a trainer without default parts, on the CPU."""
    options = {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1, **QUIET, **arguments}
    return Trainer(callbacks=list(callbacks), default_root_dir=root, **options)


def fit(root: Path, module: LightningModule, *callbacks: Any, data: Any = None, **arguments: Any) -> Trainer:
    """Fit on four batches without validation, unless told otherwise."""
    of_the_call = ("val_dataloaders", "datamodule", "ckpt_path", "strict")
    call = {name: arguments.pop(name) for name in of_the_call if name in arguments}
    if "val_dataloaders" not in call and "datamodule" not in call:
        arguments.setdefault("limit_val_batches", 0)
    trainer = trainer_with(root, *callbacks, **arguments)
    trainer.fit(module, rows() if data is None and "datamodule" not in call else data, **call)
    return trainer


def by_hand(batches: Iterable[Tensor]) -> Tensor:
    """Return the weights after one step of gradient descent per batch, written out; what a fit must come to."""
    net = Net()
    for batch in batches:
        net.zero_grad()
        net.loss(batch).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= net.lr * parameter.grad  # type: ignore[operator]  # backward has just made it
    return net.weights
