from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from lt_fabric.optimizer_proxy import unwrap_optimizer, wrap_optimizer
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.testing import RegressionDataset, TinyRegressor


def made(module: nn.Module, **callbacks: Any) -> tuple[SGD, Optimizer]:
    plain = SGD(module.parameters(), lr=0.1, momentum=0.9)
    return plain, wrap_optimizer(plain, SingleDeviceStrategy(), **callbacks)


def make_gradients(module: TinyRegressor) -> torch.Tensor:
    data = RegressionDataset()
    loss = module.training_step((data.rows, data.targets))
    loss.backward()
    return loss


def test_state_is_shared() -> None:
    module = TinyRegressor()
    plain, wrapped = made(module)
    make_gradients(module)
    wrapped.step()
    assert wrapped.state is plain.state
    assert wrapped.param_groups is plain.param_groups
    wrapped.zero_grad()
    assert all(parameter.grad is None for parameter in module.parameters())
    wrapped.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 3.0})
    assert plain.param_groups[1]["lr"] == 3.0


def test_state_loads_into_the_users_optimizer() -> None:
    module = TinyRegressor()
    plain, wrapped = made(module)
    make_gradients(module)
    wrapped.step()
    saved = wrapped.state_dict()
    saved["param_groups"][0]["lr"] = 7.0
    wrapped.load_state_dict(saved)
    assert plain.param_groups[0]["lr"] == 7.0
    assert wrapped.param_groups is plain.param_groups


def test_a_step_returns_what_its_closure_returned() -> None:
    module = TinyRegressor()
    _, wrapped = made(module)
    assert wrapped.step(lambda: make_gradients(module)) is not None
    assert wrapped.step() is None


def test_callbacks_hear_after_a_step() -> None:
    heard = []

    class Hearing:
        def on_after_optimizer_step(self, strategy: object, optimizer: object) -> None:
            heard.append(optimizer)

    class Deaf:
        on_after_optimizer_step = None

    module = TinyRegressor()
    plain, wrapped = made(module, callbacks=[Hearing(), Deaf(), object()])
    make_gradients(module)
    wrapped.step()
    assert heard == [plain]


def test_hooks_of_the_optimizer_are_called_once() -> None:
    module = TinyRegressor()
    _, wrapped = made(module)
    calls = []
    wrapped.register_step_pre_hook(lambda *_: calls.append("before"))
    make_gradients(module)
    wrapped.step()
    assert calls == ["before"]


def test_attributes_are_set_on_the_users_optimizer() -> None:
    plain, wrapped = made(TinyRegressor())
    wrapped.tag = "a"  # type: ignore[attr-defined]  # any attribute
    assert plain.tag == "a"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = wrapped.missing  # type: ignore[attr-defined]


def test_unwrapping_returns_the_users_optimizer() -> None:
    plain, wrapped = made(TinyRegressor())
    assert unwrap_optimizer(wrapped) is plain
    assert unwrap_optimizer(plain) is plain


def test_shows_what_it_is() -> None:
    assert repr(made(TinyRegressor())[1]).startswith("FabricSGD (")
