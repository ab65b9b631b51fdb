"""Global batches of weighted tokens, cut into micro-batches and ranks in any way, trained on by both front doors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_fabric import Fabric

NUM_STEPS: Final = 5
NUM_TOKENS: Final = 12

MicroBatch = tuple[Tensor, Tensor, Tensor]
"""Inputs of shape (tokens, 4), targets of shape (tokens, 2), and the weight of each token."""


@dataclass(frozen=True)
class Case:
    """One way to cut, and to train on what was cut."""

    cuts: tuple[tuple[tuple[int, ...], ...], ...]
    """For each step, for each of its micro-batches over all ranks, the tokens in it."""
    weights: tuple[float, ...]
    """What each token of a global batch counts for."""
    optimizer: Literal["sgd", "adamw"]
    clip: float | None
    door: Literal["trainer", "fabric"]
    strategy: Literal["auto", "ddp", "fsdp"]
    as_tensor: bool

    @property
    def ranks(self) -> int:
        """Processes that train."""
        return 1 if self.strategy == "auto" else 2

    @property
    def accumulation(self) -> int:
        """Micro-batches per rank in a full window."""
        return len(self.cuts[0]) // self.ranks

    def micro_batches(self, rank: int) -> list[list[MicroBatch]]:
        """Return the micro-batches of a rank, for each step."""
        return [
            [_taken(step, self.weights, tokens) for tokens in cut[rank :: self.ranks]]
            for step, cut in enumerate(self.cuts)
        ]


def uncut(case: Case) -> Tensor:
    """Return the weights after training on the whole batches, written out."""
    net = Net()
    optimizer = optimizer_of(net, case.optimizer)
    for step in range(NUM_STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(net.loss(_taken(step, case.weights, tuple(range(NUM_TOKENS)))))
        if case.clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), case.clip)
        optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def trained(case: Case) -> Tensor:
    """Return the weights after training on what was cut; on the rank of this process."""
    net = _with_trainer(case) if case.door == "trainer" else _with_fabric(case)
    return torch.cat([_whole(parameter).flatten() for parameter in net.parameters()])


class Net(LightningModule):
    """Two small layers, the same every time."""

    def __init__(self, case: Case | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        self.case = case

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the outputs."""
        outputs: Tensor = self.layers(inputs)
        return outputs

    def loss(self, batch: MicroBatch) -> Tensor:
        """Compute the weighted mean over tokens; zero where none counts."""
        inputs, targets, weights = batch
        each = (self(inputs) - targets).square().sum(1)
        return (each * weights).sum() / weights.sum().clamp(min=1e-6)

    def training_step(self, batch: MicroBatch) -> dict[str, Any]:
        """Return the loss and what it counts for."""
        assert self.case is not None
        return {"loss": self.loss(batch), "loss_weight": _weight(batch, self.case)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer that the case asks for."""
        assert self.case is not None
        return optimizer_of(self, self.case.optimizer)


class Loader:
    """Gives the micro-batches of this rank, whichever that is."""

    def __init__(self, case: Case, trainer: Trainer) -> None:
        self._case, self._trainer = case, trainer

    def __iter__(self) -> Iterator[MicroBatch]:
        for window in self._case.micro_batches(self._trainer.global_rank):
            yield from window

    def __len__(self) -> int:
        return sum(map(len, self._case.micro_batches(0)))


def optimizer_of(module: nn.Module, name: str) -> torch.optim.Optimizer:
    """Return an optimizer of the module."""
    if name == "sgd":
        return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    return torch.optim.AdamW(module.parameters(), lr=0.01)


def _with_trainer(case: Case) -> nn.Module:
    trainer = Trainer(
        accelerator="cpu",
        devices=case.ranks,
        strategy=case.strategy,
        max_epochs=1,
        accumulate_grad_batches=case.accumulation,
        gradient_clip_val=case.clip,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    net = Net(case)
    weights: list[Tensor] = []
    net.on_train_end = lambda: weights.extend(_whole(one).clone() for one in net.parameters())  # type: ignore[method-assign]
    trainer.fit(net, Loader(case, trainer))
    assert trainer.global_step == NUM_STEPS
    return nn.ParameterList(weights)


def _with_fabric(case: Case) -> nn.Module:
    fabric = Fabric(accelerator="cpu", devices=case.ranks, strategy=case.strategy)
    return fabric.launch(_own_loop, case) if case.ranks > 1 else _own_loop(fabric, case)


def _own_loop(fabric: Fabric, case: Case) -> nn.Module:
    net: nn.Module = nn.Sequential(*Net().layers)
    net, optimizer = fabric.setup(net, optimizer_of(net, case.optimizer))
    for window in case.micro_batches(fabric.global_rank):
        for number, (inputs, targets, weights) in enumerate(window, start=1):
            with fabric.no_backward_sync(net, enabled=number < len(window)):
                each = (net(inputs) - targets).square().sum(1)
                loss = (each * weights).sum() / weights.sum().clamp(min=1e-6)
                fabric.backward(loss, weight=_weight((inputs, targets, weights), case))
        if case.clip is not None:
            fabric.clip_gradients(net, optimizer, max_norm=case.clip)
        optimizer.step()
        optimizer.zero_grad()
    return nn.ParameterList([_whole(parameter).clone() for parameter in net.parameters()])


def _weight(batch: MicroBatch, case: Case) -> Tensor | float:
    total = batch[2].sum()
    return total if case.as_tensor else total.item()


def _taken(step: int, weights: tuple[float, ...], tokens: tuple[int, ...]) -> MicroBatch:
    """Return some tokens of a step's global batch."""
    generator = torch.Generator().manual_seed(step)
    inputs, targets = torch.randn(NUM_TOKENS, 4, generator=generator), torch.randn(NUM_TOKENS, 2, generator=generator)
    chosen = torch.tensor(tokens, dtype=torch.long)
    return inputs[chosen], targets[chosen], torch.tensor(weights)[chosen]


def _whole(parameter: Tensor) -> Tensor:
    whole: Tensor = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return whole.detach()
