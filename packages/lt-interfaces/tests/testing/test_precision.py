from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor
from torch.optim import Optimizer
from toy_parts import ToyPrecision

from lt_interfaces.precision import Precision
from lt_interfaces.testing import PrecisionContract


class TestToyPrecision(PrecisionContract):
    @pytest.fixture
    def precision(self) -> ToyPrecision:
        return ToyPrecision()


class Scaled(ToyPrecision):
    """Scales losses, tells its hearers before unscaling, and steps before it tells them."""

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        run_backward(loss * 1024, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        outcome = closure()
        optimizer.step(**kwargs)
        before_step(optimizer)
        return outcome


mistake = pytest.mark.xfail(reason="the mistake under test", raises=AssertionError, strict=True)


class TestScaledPrecision(PrecisionContract):
    """A suite that let this pass would let wrong gradients pass."""

    @pytest.fixture
    def precision(self) -> Precision:
        return Scaled()

    @mistake
    def test_gradients_are_those_of_full_precision_once_unscaled(
        self, precision: Precision, optimizer: Optimizer
    ) -> None:
        super().test_gradients_are_those_of_full_precision_once_unscaled(precision, optimizer)

    @mistake
    def test_a_step_makes_gradients_then_prepares_then_updates(
        self, precision: Precision, optimizer: Optimizer
    ) -> None:
        super().test_a_step_makes_gradients_then_prepares_then_updates(precision, optimizer)

    @mistake
    def test_gradients_are_unscaled_when_a_step_prepares(self, precision: Precision, optimizer: Optimizer) -> None:
        super().test_gradients_are_unscaled_when_a_step_prepares(precision, optimizer)
