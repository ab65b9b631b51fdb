from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from lt_callbacks.learning_rate_setting import set_learning_rate

MAKERS: dict[str, Callable[[Optimizer], Any]] = {
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda step: 0.5 / (step + 1)),
    "exponential": lambda optimizer: ExponentialLR(optimizer, 0.5),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 4),
    "warm-up": lambda optimizer: LinearLR(optimizer, 0.25, total_iters=4),
    "chained": lambda optimizer: ChainedScheduler([StepLR(optimizer, 2), ExponentialLR(optimizer, 0.5)]),
    "sequential": lambda optimizer: SequentialLR(
        optimizer, [LinearLR(optimizer, 0.25, total_iters=2), ExponentialLR(optimizer, 0.5)], [2]
    ),
}


def made(rate: Any, make: Callable[[Optimizer], Any]) -> tuple[Optimizer, Any]:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    return optimizer, make(optimizer)


def course(optimizer: Optimizer, scheduler: Any) -> list[float]:
    rates = []
    for _ in range(6):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("name", MAKERS)
def test_the_schedule_is_that_of_a_scheduler_made_with_the_rate(name: str) -> None:
    optimizer, scheduler = made(0.5, MAKERS[name])
    set_learning_rate(optimizer, [scheduler], 0.125)
    assert course(optimizer, scheduler) == pytest.approx(course(*made(0.125, MAKERS[name])), rel=1e-12)


def test_all_groups_get_the_rate() -> None:
    optimizer = SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)])
    set_learning_rate(optimizer, [], 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]


def test_a_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    rate = torch.tensor(0.5)
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    set_learning_rate(optimizer, [], 0.25)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == 0.25


def test_a_scheduler_with_rates_of_its_own_is_told_of() -> None:
    optimizer, scheduler = made(0.1, lambda optimizer: OneCycleLR(optimizer, max_lr=1.0, total_steps=5))
    with pytest.warns(UserWarning, match="`Tuner.lr_find`"):
        set_learning_rate(optimizer, [scheduler], 0.3)


def test_a_rate_of_zero_is_replaced() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.0)
    set_learning_rate(optimizer, [], 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
