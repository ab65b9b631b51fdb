"""What one of several ranks does with Fabric, in a module that processes can import."""

import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule
from lt_fabric import Fabric


class Branches(nn.Module):
    """Has two ways through it, only one of which is called ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 1)
        self.second = nn.Linear(2, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.first(rows)

    def both(self, rows: Tensor) -> Tensor:
        return self.first(rows) + self.second(rows)


class ByHand(LightningModule):
    """Differentiates within its training step, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.branches = Branches()

    def forward(self, rows: Tensor) -> Tensor:
        return self.branches.both(rows)

    def training_step(self, rows: Tensor) -> None:
        self.manual_backward(self.branches.first(rows).square().mean())
        self.manual_backward(self.branches.second(rows).square().mean())


class Gradients:
    """Makes gradients with Fabric, and the same ones without it."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rows_of = [torch.randn(4, 2, generator=torch.Generator().manual_seed(rank)) for rank in range(2)]
        self.rows = self.rows_of[fabric.global_rank]

    def ways(self) -> dict[str, bool]:
        """Return for each way to make gradients whether they are the mean over all ranks."""
        plain, by_hand, other = (self.fabric.setup(make()) for make in (Branches, ByHand, ByHand))
        plain.mark_forward_method("both")
        return {
            "forward": self.agree(plain, self.backward(plain), forward_loss),
            "marked method": self.agree(plain, self.backward(plain.both), both_loss),
            "step by hand": self.agree(by_hand, by_hand.training_step, loss_by_hand),
            "another module by hand": self.agree(other, other.training_step, loss_by_hand),
            "the first by hand again": self.agree(by_hand, by_hand.training_step, loss_by_hand),
            "forward of a module by hand": self.agree(by_hand, self.backward(by_hand), forward_loss),
            "forward beside modules by hand": self.agree(plain, self.backward(plain), forward_loss),
            "own gradients within no_backward_sync": self.without_sync(plain, self.backward(plain)),
            "own gradients of a step by hand": self.without_sync(by_hand, by_hand.training_step),
        }

    def backward(self, call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
        return lambda rows: self.fabric.backward(call(rows).square().mean())

    def agree(self, module: Any, make: Callable[[Tensor], None], loss: Callable[[Any, Tensor], Tensor]) -> bool:
        """Say whether this rank gets the gradients that are the mean of each rank's own."""
        copy = deepcopy(module.module)
        copy.zero_grad()
        for rows in self.rows_of:
            (loss(copy, rows) / len(self.rows_of)).backward()
        module.zero_grad()
        make(self.rows)
        return torch.allclose(_gradients(module), _gradients(copy), atol=1e-6)

    def without_sync(self, module: Any, make: Callable[[Tensor], None]) -> bool:
        """Say whether ranks have different gradients in the context."""
        module.zero_grad()
        with self.fabric.no_backward_sync(module):
            make(self.rows)
        first, second = self.fabric.all_gather(_gradients(module))
        return not torch.equal(first, second)


def forward_loss(module: Any, rows: Tensor) -> Tensor:
    loss: Tensor = module(rows).square().mean()
    return loss


def both_loss(module: Any, rows: Tensor) -> Tensor:
    loss: Tensor = module.both(rows).square().mean()
    return loss


def loss_by_hand(module: Any, rows: Tensor) -> Tensor:
    loss: Tensor = module.branches.first(rows).square().mean() + module.branches.second(rows).square().mean()
    return loss


def _gradients(module: nn.Module) -> Tensor:
    zero_or = (torch.zeros_like(one) if one.grad is None else one.grad for one in module.parameters())
    return torch.cat([gradient.flatten() for gradient in zero_or])


def _error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return ""


def everything(folder: str) -> dict[str, Any]:
    """Do everything, so that processes are started once."""
    warnings.simplefilter("ignore")
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true")
    before = _error_of(lambda: fabric.setup(nn.Linear(1, 1)))
    fabric.launch()
    torch.manual_seed(fabric.global_rank)
    unmarked = fabric.setup(Branches())
    return {
        "before launch": before,
        "unmarked method": _error_of(lambda: unmarked.both(torch.ones(1, 2))),
        "weights agree": _are_equal(fabric, unmarked.first.weight.detach()),
        "gradients": Gradients(fabric).ways(),
        "seed": _drawn_seeds(fabric),
        "samples": _samples_after_drawn_seed(fabric),
        "written": save(fabric, folder),
        "read": load(fabric, folder),
    }


def _are_equal(fabric: Fabric, tensor: Tensor) -> bool:
    gathered = fabric.all_gather(tensor)
    return bool((gathered == gathered[0]).all())


def _drawn_seeds(fabric: Fabric) -> list[int]:
    drawn = []
    for _ in range(2):
        os.environ.pop("PL_GLOBAL_SEED", None)
        drawn.append(fabric.seed_everything(verbose=False))
    return drawn


def _samples_after_drawn_seed(fabric: Fabric) -> list[int]:
    loader = fabric.setup_dataloaders(DataLoader(range(12), batch_size=2, shuffle=True))  # type: ignore[arg-type]
    return [int(sample) for batch in loader for sample in batch]


def trained(fabric: Fabric) -> tuple[Any, Any]:
    """Return a module and an optimizer that has something to remember."""
    torch.manual_seed(4)
    module = nn.Linear(2, 1)
    module, optimizer = fabric.setup(module, torch.optim.Adam(module.parameters(), lr=0.1))
    fabric.backward(module(torch.ones(3, 2)).square().mean())
    optimizer.step()
    return module, optimizer


def save(fabric: Fabric, folder: str) -> list[float]:
    """Save; return the weights."""
    module, optimizer = trained(fabric)
    fabric.save(Path(folder, "state.ckpt"), {"module": module, "optimizer": optimizer, "steps": 1})
    return _weights(module)


def load(fabric: Fabric, folder: str) -> tuple[list[float], float, int]:
    """Load into other objects; return the weights, a moment of the optimizer, and the number of steps."""
    module = nn.Linear(2, 1)
    module, optimizer = fabric.setup(module, torch.optim.Adam(module.parameters(), lr=0.5))
    state = {"module": module, "optimizer": optimizer, "steps": 0}
    fabric.load(Path(folder, "state.ckpt"), state)
    moment = next(iter(optimizer.state.values()))["exp_avg"]
    return _weights(module), float(moment.sum()), int(state["steps"])


def _weights(module: nn.Module) -> list[float]:
    return [float(number) for one in module.parameters() for number in one.detach().flatten()]
