"""One problem trained by the Trainer and by a loop with Fabric, on any number of processes, in a module they import."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_core import LightningModule, Trainer
from lt_fabric import Fabric

NUM_STEPS: Final = 20
GLOBAL_BATCH_SIZE: Final = 8
_BATCHES_PER_EPOCH: Final = 20
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Cell:
    """One way to train."""

    optimizer: str = "sgd"
    accumulation: int = 1
    clip: Literal["norm", "value", None] = None
    manual: bool = False

    def __str__(self) -> str:
        parts = [self.optimizer, f"accumulation {self.accumulation}"]
        parts += [f"clipped by {self.clip}"] * (self.clip is not None)
        parts += ["two optimizers by hand"] * self.manual
        return ", ".join(parts)


CELLS: Final = [
    *(Cell(optimizer, length) for optimizer in ("sgd", "adamw") for length in (1, 3)),
    *(Cell("sgd", length, "norm") for length in (1, 3)),
    *(Cell("sgd", length, "value") for length in (1, 3)),
    *(Cell("sgd", length, manual=True) for length in (1, 3)),
    Cell("adamw", manual=True),
]


@dataclass
class Outcome:
    """What came out: losses are means over all ranks."""

    losses: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    weights: list[float] = field(default_factory=list)
    steps: int = 0


def data(num_samples: int, *, ranks: int, batch_size: int) -> DataLoader[Any]:
    """Return samples of a smooth function, in batches that all ranks share."""
    inputs = torch.linspace(-1, 1, num_samples)[:, None] * torch.tensor([[1.0, -0.5, 0.25, 2.0]])
    inputs = inputs + torch.randn(num_samples, 4, generator=torch.Generator().manual_seed(1)) / 4
    dataset = TensorDataset(inputs, torch.sin(inputs.sum(1, keepdim=True)) / 2)
    return DataLoader(dataset, batch_size // ranks)


def training_data(ranks: int) -> DataLoader[Any]:
    """Return an epoch of training data."""
    return data(_BATCHES_PER_EPOCH * GLOBAL_BATCH_SIZE, ranks=ranks, batch_size=GLOBAL_BATCH_SIZE)


def validation_data(ranks: int, num_samples: int) -> DataLoader[Any]:
    """Return data for a validation."""
    return data(num_samples, ranks=ranks, batch_size=2 * ranks)


def optimizer_of(name: str, module: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a module."""
    if name == "sgd":
        return torch.optim.SGD(module.parameters(), lr=0.03, momentum=0.9)
    return torch.optim.AdamW(module.parameters(), lr=0.003)


def network() -> nn.Module:
    """Return a network that has the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


class Net(LightningModule):
    """One network, stepped by the Trainer."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.net = network()
        self.losses: list[Tensor] = []

    def loss(self, batch: Batch) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        loss = self.loss(batch)
        self.losses.append(loss.detach())
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return optimizer_of(self.cell.optimizer, self)


class Pair(Net):
    """A generator and a critic that learn from each other, stepped by hand."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.automatic_optimization = False
        self.critic = nn.Linear(1, 1)
        nn.init.constant_(self.critic.weight, 0.5)
        nn.init.zeros_(self.critic.bias)

    def losses_of(self, batch: Batch) -> list[Any]:
        """Return for each network how its loss is made."""

        def of_generator() -> Tensor:
            return self.loss(batch) - self.critic(self.net(batch[0])).mean() / 10

        def of_critic() -> Tensor:
            fake, real = self.critic(self.net(batch[0]).detach()), self.critic(batch[1])
            return (fake - real).square().mean() + (real - 0.2).square().mean()

        return [of_generator, of_critic]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        last = (batch_idx + 1) % self.cell.accumulation == 0 or batch_idx == _BATCHES_PER_EPOCH - 1
        for optimizer, make_loss in zip(self.optimizers(), self.losses_of(batch), strict=True):
            with optimizer.toggle_model(sync_grad=last):
                loss = make_loss()
                self.manual_backward(loss / self.cell.accumulation)
                if last:
                    optimizer.step()
                    optimizer.zero_grad()
            self.losses.append(loss.detach())
            self.log("loss", loss, on_step=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        return optimizer_of(self.cell.optimizer, self.net), optimizer_of("adamw", self.critic)


def new_module(cell: Cell) -> Net:
    """Return the module of a cell."""
    return Pair(cell) if cell.manual else Net(cell)


def with_trainer(cell: Cell, ranks: int, folder: str) -> Outcome:
    """Train with the Trainer."""
    model = new_module(cell)
    automatic = {} if cell.manual else {"accumulate_grad_batches": cell.accumulation, **_clipping(cell)}
    trainer = Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=-1,
        max_steps=NUM_STEPS * (1 + cell.manual),
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **automatic,
    )
    trainer.fit(model, training_data(ranks), validation_data(ranks, 7))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for own in ("loss", "loss_step"):
        metrics.pop(own, None)  # of the rank's last batch
    losses = trainer.strategy.reduce(torch.stack(model.losses))
    return Outcome(losses.tolist(), metrics, _weights(model), trainer.global_step)


def _clipping(cell: Cell) -> dict[str, Any]:
    if cell.clip is None:
        return {}
    return {"gradient_clip_val": 0.05 if cell.clip == "norm" else 0.01, "gradient_clip_algorithm": cell.clip}


def with_fabric(cell: Cell, ranks: int, folder: str) -> Outcome:
    """Train with a loop of one's own."""
    fabric = Fabric(accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto")
    fabric.launch()
    return _FabricLoop(fabric, cell, ranks).train()


class _FabricLoop:
    def __init__(self, fabric: Fabric, cell: Cell, ranks: int) -> None:
        self.fabric, self.cell = fabric, cell
        net = network()
        self.net, self.optimizer = fabric.setup(net, optimizer_of(cell.optimizer, net))
        critic = nn.Linear(1, 1)
        nn.init.constant_(critic.weight, 0.5)
        nn.init.zeros_(critic.bias)
        self.critic, self.critic_optimizer = fabric.setup(critic, optimizer_of("adamw", critic))
        self.training = fabric.setup_dataloaders(training_data(ranks))
        self.validation = fabric.setup_dataloaders(validation_data(ranks, 8))  # it fills up uneven data
        self.outcome = Outcome()

    def train(self) -> Outcome:
        for batch, is_last in self._batches():
            if self.cell.manual:
                self._train_pair(batch, is_last)
            else:
                self._train_on(batch, is_last)
            self.outcome.steps += is_last
        outcome = self.outcome
        outcome.losses = self.fabric.all_reduce(torch.tensor(outcome.losses)).tolist()
        gathered = self.fabric.all_gather({"steps": outcome.steps})["steps"]
        assert gathered.unique().tolist() == [outcome.steps]
        self._validate()
        outcome.weights = _weights(self.net) + _weights(self.critic)
        return outcome

    def _batches(self) -> Iterator[tuple[Batch, bool]]:
        """Return batches until the last step is taken, with whether the window ends with each."""
        while True:
            for index, batch in enumerate(self.training):
                if self.outcome.steps == NUM_STEPS:
                    return
                yield batch, (index + 1) % self.cell.accumulation == 0 or index == len(self.training) - 1

    def _train_on(self, batch: Batch, is_last: bool) -> None:
        with self.fabric.no_backward_sync(self.net, enabled=not is_last):
            loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
            self.fabric.backward(loss / self.cell.accumulation)
        if is_last:
            if self.cell.clip is not None:
                names = {"norm": {"max_norm": 0.05}, "value": {"clip_val": 0.01}}[self.cell.clip]
                self.fabric.clip_gradients(self.net, self.optimizer, **names)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.outcome.losses.append(loss.item())

    def _train_pair(self, batch: Batch, is_last: bool) -> None:
        with self.fabric.no_backward_sync(self.net, enabled=not is_last), _frozen(self.critic):
            made = self.net(batch[0])
            loss = nn.functional.mse_loss(made, batch[1]) - self.critic(made).mean() / 10
            self.fabric.backward(loss / self.cell.accumulation)
        self._step(self.optimizer, loss, is_last)
        with self.fabric.no_backward_sync(self.critic, enabled=not is_last):
            both = self.critic(torch.cat([self.net(batch[0]).detach(), batch[1]]))
            fake, real = both.chunk(2)
            loss = (fake - real).square().mean() + (real - 0.2).square().mean()
            self.fabric.backward(loss / self.cell.accumulation)
        self._step(self.critic_optimizer, loss, is_last)

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor, is_last: bool) -> None:
        self.outcome.losses.append(loss.item())
        if is_last:
            optimizer.step()
            optimizer.zero_grad()

    @torch.no_grad()
    def _validate(self) -> None:
        total, count = torch.zeros(()), 0
        for inputs, targets in self.validation:
            total, count = (
                total + nn.functional.mse_loss(self.net(inputs), targets, reduction="sum"),
                count + len(inputs),
            )
        sums = self.fabric.all_reduce({"total": total, "count": count}, reduce_op="sum")
        self.outcome.metrics["val"] = float(sums["total"] / sums["count"])


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    for parameter in module.parameters():
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in module.parameters():
            parameter.requires_grad = True


def _weights(module: nn.Module) -> list[float]:
    flat = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    return [float(number) for number in flat]


def all_cells(ranks: int, folder: str) -> dict[tuple[str, str], Outcome]:
    """Train in every way, so that processes are started once."""
    warnings.simplefilter("ignore")
    folder = str(Path(folder, str(ranks)))
    return {
        (name, str(cell)): train(cell, ranks, folder)
        for name, train in (("Trainer", with_trainer), ("Fabric", with_fabric))
        for cell in CELLS
    }
