from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import ManualNet, fit
from torch import nn, optim

from lt_core.optimizer import LightningOptimizer
from lt_interfaces.errors import MisconfigurationException

OPTIMIZERS = [
    lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9),
    lambda parameters: optim.Adam(parameters, lr=0.1),
    lambda parameters: optim.LBFGS(parameters, lr=0.1, max_iter=2),
]
Make = Callable[[Any], optim.Optimizer]


class Wrapped:
    """A parameter, its optimizer, and the proxy of it; steps are noted and taken."""

    def __init__(self, make: Make = OPTIMIZERS[0]) -> None:
        self.parameter = nn.Parameter(torch.ones(2))
        self.raw = make([self.parameter])
        self.steps: list[Any] = []
        self.proxy = LightningOptimizer.wrap(self.raw, self.take_step)

    def take_step(self, closure: Callable[[], Any], **kwargs: Any) -> Any:
        self.steps.append(kwargs)
        return self.raw.step(closure, **kwargs)

    def loss(self) -> Any:
        self.proxy.zero_grad()
        loss = self.parameter.square().sum()
        loss.backward()
        return loss


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_the_proxy_is_one_of_the_wrapped_class(make: Make) -> None:
    wrapped = Wrapped(make)
    assert isinstance(wrapped.proxy, type(wrapped.raw))
    assert isinstance(wrapped.proxy, LightningOptimizer)
    assert type(wrapped.proxy).__name__ == f"Lightning{type(wrapped.raw).__name__}"
    assert wrapped.proxy.optimizer is wrapped.raw
    assert repr(wrapped.proxy) == f"Lightning{wrapped.raw!r}"


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_steps_go_through_the_run_and_share_all_state(make: Make) -> None:
    wrapped = Wrapped(make)
    wrapped.proxy.step(wrapped.loss)
    assert wrapped.steps == [{}]
    assert wrapped.proxy.state is wrapped.raw.state
    assert wrapped.proxy.param_groups is wrapped.raw.param_groups
    assert wrapped.proxy.state_dict().keys() == wrapped.raw.state_dict().keys()
    assert len(wrapped.raw.state) == 1


def test_arguments_of_a_step_are_passed_on() -> None:
    taken: list[Any] = []
    proxy = LightningOptimizer.wrap(Wrapped().raw, lambda closure, **kwargs: taken.append((closure(), kwargs)))
    proxy.step(closure=lambda: 3.0, scale=2)
    proxy.step()
    assert taken == [(3.0, {"scale": 2}), (None, {})]


@pytest.mark.parametrize("closure", [3, "loss", torch.ones(1)])
def test_a_closure_that_cannot_be_called_is_refused(closure: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`optimizer\.step\(closure="):
        Wrapped().proxy.step(closure)


def test_what_is_set_on_either_is_seen_on_both() -> None:
    wrapped = Wrapped()
    wrapped.proxy.param_groups[0]["lr"] = 5.0
    wrapped.proxy.note = "mine"
    wrapped.raw.param_groups = [{**wrapped.raw.param_groups[0], "lr": 7.0}]
    assert wrapped.raw.note == "mine"  # type: ignore[attr-defined]  # set above
    assert wrapped.proxy.param_groups[0]["lr"] == 7.0
    with pytest.raises(AttributeError):
        wrapped.proxy.nothing  # noqa: B018  # the look-up is the test


def test_groups_added_to_the_proxy_are_stepped() -> None:
    wrapped = Wrapped()
    wrapped.proxy.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert len(wrapped.raw.param_groups) == 2


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_state_loaded_through_the_proxy_is_the_optimizers(make: Make) -> None:
    source, target = Wrapped(make), Wrapped(make)
    source.proxy.param_groups[0]["lr"] = 0.7
    source.proxy.step(source.loss)
    target.proxy.load_state_dict(source.proxy.state_dict())
    assert target.raw.param_groups[0]["lr"] == 0.7
    assert len(target.raw.state) == 1
    assert target.proxy.state is target.raw.state
    assert target.proxy.param_groups is target.raw.param_groups


def test_hooks_registered_on_the_proxy_are_called() -> None:
    wrapped = Wrapped()
    called: list[Any] = []
    wrapped.proxy.register_step_post_hook(lambda *args: called.append(args))
    wrapped.proxy.step(wrapped.loss)
    assert len(called) == 1


SCHEDULERS: list[Callable[[Any], Any]] = [
    lambda optimizer: optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5),
    lambda optimizer: optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step),
    lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5),
    lambda optimizer: optim.lr_scheduler.SequentialLR(
        optimizer, [optim.lr_scheduler.ConstantLR(optimizer), optim.lr_scheduler.StepLR(optimizer, 1)], milestones=[2]
    ),
]


@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_torchs_schedulers_take_the_proxy(schedule: Callable[[Any], Any]) -> None:
    wrapped, plain = Wrapped(), Wrapped()
    by_proxy, by_hand = schedule(wrapped.proxy), schedule(plain.raw)
    for _ in range(3):
        wrapped.proxy.step(wrapped.loss)
        by_proxy.step()
        plain.raw.step(plain.loss)
        by_hand.step()
    assert wrapped.raw.param_groups[0]["lr"] == plain.raw.param_groups[0]["lr"]
    assert len(wrapped.steps) == 3


def test_plateau_takes_the_proxy() -> None:
    wrapped = Wrapped()
    plateau = optim.lr_scheduler.ReduceLROnPlateau(wrapped.proxy, patience=0)
    for _ in range(3):
        wrapped.proxy.step(wrapped.loss)
        plateau.step(1.0)
    assert wrapped.raw.param_groups[0]["lr"] == pytest.approx(0.001)


def test_toggling_needs_a_run() -> None:
    with pytest.raises(RuntimeError, match="running Trainer"), Wrapped().proxy.toggle_model():
        pass


def test_schedulers_made_during_a_run_take_what_the_module_gets(tmp_path: Path) -> None:
    class Schedules(ManualNet):
        def on_train_start(self) -> None:
            self.schedule = optim.lr_scheduler.StepLR(self.optimizers(), step_size=1, gamma=0.5)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            self.schedule.step()

    trainer = fit(tmp_path, Schedules())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)
    assert trainer.global_step == 4
