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
