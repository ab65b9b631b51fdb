from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import Net
from torch.optim.lr_scheduler import StepLR

from lt_core.run.optimization import Optimization
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.scheduling import LRSchedulerConfig


def scheduled(count: int) -> Optimization:
    optimizer: Any = torch.optim.SGD(Net().parameters(), lr=1.0)
    schedulers = [LRSchedulerConfig(StepLR(optimizer, 1)) for _ in range(count)]
    return Optimization(SingleDeviceStrategy("cpu"), optimizers=[optimizer], schedulers=schedulers)


@given(st.integers(1, 9), st.integers(1, 9))
def test_window_holds_what_was_asked_for_or_what_is_left(accumulation: int, left: int) -> None:
    optimization = Optimization(SingleDeviceStrategy("cpu"), accumulation=accumulation)
    assert optimization.window is None
    optimization.open_window(left)
    assert optimization.window is not None
    assert optimization.left == min(accumulation, left)


def test_window_over_data_of_unknown_length_holds_what_was_asked_for() -> None:
    optimization = Optimization(SingleDeviceStrategy("cpu"), accumulation=3)
    optimization.open_window(float("inf"))
    assert optimization.left == 3


def test_schedulers_get_their_states_back() -> None:
    one, other = scheduled(2), scheduled(2)
    one.schedulers[1].scheduler.last_epoch = 5
    other.load_scheduler_states(one.scheduler_states())
    assert [config.scheduler.last_epoch for config in other.schedulers] == [0, 5]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_schedulers_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"{count} learning-rate schedulers.*returned 2"):
        scheduled(2).load_scheduler_states(scheduled(count).scheduler_states())


# --- the window and its gradients, as a checkpoint keeps them ---


def in_window(net: Net, *, held: int, accumulation: int = 3) -> Optimization:
    """Return what there is after so many micro-batches of a window."""
    optimization = Optimization(SingleDeviceStrategy("cpu"), accumulation=accumulation)
    optimization.open_window(7)
    assert optimization.window is not None
    for _ in range(held):
        optimization.left -= 1
        optimization.window.add(net.loss(torch.ones(2, 3)), 2.0).backward()
    return optimization


def gradients(net: Net) -> list[torch.Tensor]:
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("held", [1, 2])
def test_open_window_comes_back_with_what_it_held(held: int) -> None:
    net, again = Net(), Net()
    optimization = in_window(net, held=held)
    resumed = Optimization(SingleDeviceStrategy("cpu"), accumulation=3)
    resumed.load_window_state(again, optimization.window_state(net, keeps_gradients=False))
    for one, module in ((optimization, net), (resumed, again)):
        assert one.window is not None
        for _ in range(3 - held):
            one.window.add(module.loss(torch.full((1, 3), 2.0)), 1.0).backward()
        one.window.close()
    assert resumed.left == 3 - held
    assert len(gradients(net)) == 2
    assert all(torch.equal(one, other) for one, other in zip(gradients(net), gradients(again), strict=True))


def test_gradients_of_a_file_are_copied() -> None:
    net, again = Net(), Net()
    state = in_window(net, held=1).window_state(net, keeps_gradients=False)
    Optimization(SingleDeviceStrategy("cpu")).load_window_state(again, state)
    for gradient in gradients(again):
        gradient.zero_()
    assert all(gradient.abs().sum() > 0 for gradient in gradients(net))


@pytest.mark.parametrize(("keeps", "names"), [(False, set()), (True, {"layer.weight", "layer.bias"})])
def test_between_windows_gradients_are_kept_only_where_the_module_may_need_them(keeps: bool, names: set[str]) -> None:
    net = Net()
    optimization = in_window(net, held=3)
    optimization.window = None
    state = optimization.window_state(net, keeps_gradients=keeps)
    assert (state["window"], set(state["gradients"])) == (None, names)


def test_parameters_without_a_gradient_stay_without() -> None:
    net, again = Net(), Net()
    net.layer.weight.grad = torch.ones(1, 3)
    state = Optimization(SingleDeviceStrategy("cpu")).window_state(net, keeps_gradients=True)
    resumed = Optimization(SingleDeviceStrategy("cpu"))
    resumed.load_window_state(again, state)
    assert (len(gradients(again)), again.layer.bias.grad, resumed.window) == (1, None, None)
