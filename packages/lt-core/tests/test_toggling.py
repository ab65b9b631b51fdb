from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit
from torch import nn, optim

from lt_core.toggling import toggle, untoggle

Flags = dict[str, bool]


def optimizers_of(module: nn.ModuleDict) -> dict[str, optim.Optimizer]:
    return {name: optim.SGD(part.parameters(), lr=0.1) for name, part in module.items()}


def flags(module: nn.Module) -> Flags:
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}


@pytest.fixture
def parts() -> nn.ModuleDict:
    parts = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    parts["a"].get_parameter("bias").requires_grad = False
    return parts


def test_only_the_active_optimizers_parameters_require_grad_as_they_did(parts: nn.ModuleDict) -> None:
    optimizers = optimizers_of(parts)
    toggle(optimizers.values(), optimizers["a"])
    assert flags(parts) == {"a.weight": True, "a.bias": False, "b.weight": False, "b.bias": False}


def test_untoggling_gives_each_parameter_back_what_it_had(parts: nn.ModuleDict) -> None:
    before = flags(parts)
    optimizers = optimizers_of(parts)
    untoggle(toggle(optimizers.values(), optimizers["b"]))
    assert flags(parts) == before


def test_parameters_that_two_optimizers_share_stay_active() -> None:
    shared, own = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    first, second = optim.SGD([shared], lr=0.1), optim.SGD([shared, own], lr=0.1)
    before = toggle([first, second], first)
    assert (shared.requires_grad, own.requires_grad) == (True, False)
    untoggle(before)
    assert (shared.requires_grad, own.requires_grad) == (True, True)


class Two(Net):
    """Two parts, an optimizer each; notes what requires grad while its own toggling is on."""

    def __init__(self, watch: Callable[["Two", Any], None]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.parts = nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})
        self.watch = watch
        self.during: Flags = {}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.watch(self, self.optimizers())

    def configure_optimizers(self) -> Any:
        return list(optimizers_of(self.parts).values())


def by_pair(module: Two, optimizers: Any) -> None:
    module.toggle_optimizer(optimizers[0])
    module.during = flags(module.parts)
    module.untoggle_optimizer(optimizers[0])


def by_context(module: Two, optimizers: Any) -> None:
    with module.toggled_optimizer(optimizers[0]):
        module.during = flags(module.parts)


def by_context_that_fails(module: Two, optimizers: Any) -> None:
    with suppress(KeyError), module.toggled_optimizer(optimizers[0]):
        module.during = flags(module.parts)
        raise KeyError


def by_optimizer(module: Two, optimizers: Any) -> None:
    with optimizers[0].toggle_model():
        module.during = flags(module.parts)


def by_optimizer_without_synchronising(module: Two, optimizers: Any) -> None:
    with optimizers[0].toggle_model(sync_grad=False):
        module.during = flags(module.parts)


@pytest.mark.parametrize(
    "watch", [by_pair, by_context, by_context_that_fails, by_optimizer, by_optimizer_without_synchronising]
)
def test_modules_toggle_during_a_run(watch: Callable[[Two, Any], None], tmp_path: Path) -> None:
    module = Two(watch)
    fit(tmp_path, module)
    assert module.during == {"a.weight": True, "a.bias": True, "b.weight": False, "b.bias": False}
    assert all(flags(module).values())
