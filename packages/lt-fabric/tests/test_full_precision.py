from typing import Any

import pytest
import torch

from lt_fabric.full_precision import FullPrecision
from lt_interfaces.testing import PrecisionContract


class TestFullPrecision(PrecisionContract):
    @pytest.fixture
    def precision(self) -> FullPrecision:
        return FullPrecision()


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="'16-true'"):
        FullPrecision("16-true", torch.device("cpu"))


def test_every_batch_shares_one_context() -> None:
    assert FullPrecision().forward_context() is FullPrecision().forward_context()


def test_an_optimizer_that_calls_the_closure_again_prepares_again() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.LBFGS([weight], lr=0.1, max_iter=3)
    prepared = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss

    FullPrecision().optimizer_step(optimizer, closure, prepared.append)
    assert len(prepared) > 1


def test_an_optimizer_of_a_stranger_may_evaluate_again() -> None:
    class Twice(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> Any:
            closure()
            return closure()

    order = []
    optimizer = Twice([torch.nn.Parameter(torch.zeros(1))], {})
    FullPrecision().optimizer_step(optimizer, lambda: order.append("closure"), lambda _: order.append("before_step"))
    assert order == ["closure", "before_step", "closure", "before_step"]
