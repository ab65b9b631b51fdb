from typing import Any

import torch

from lt_interfaces.closures import update_after_gradients


def test_an_optimizer_that_calls_the_closure_again_prepares_again() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.LBFGS([weight], lr=0.1, max_iter=3)
    prepared = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss

    update_after_gradients(optimizer, closure(), closure=closure, before_step=prepared.append)
    assert len(prepared) > 0


def test_an_optimizer_of_a_stranger_may_evaluate_again() -> None:
    class Twice(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> Any:
            closure()
            return closure()

    order = []
    optimizer = Twice([torch.nn.Parameter(torch.zeros(1))], {})
    again = {"closure": lambda: order.append("closure"), "before_step": lambda _: order.append("before_step")}
    update_after_gradients(optimizer, None, **again)
    assert order == ["closure", "before_step"]
