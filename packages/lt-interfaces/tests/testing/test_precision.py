from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn
from torch.optim import Optimizer
from toy_parts import ToyPrecision

from lt_interfaces.errors import MisconfigurationException
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


class Inferring(ToyPrecision):
    """Doesn't train."""

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        message = f"`precision={self.precision!r}` doesn't train."
        raise MisconfigurationException(message)


class TestInferringPrecision(PrecisionContract):
    trains = False

    @pytest.fixture
    def precision(self) -> Precision:
        return Inferring()


class Halving(ToyPrecision):
    """Changes weights as it converts, again and again, and not those that are loaded later."""

    def convert_module(self, module: nn.Module) -> nn.Module:
        for parameter in super().convert_module(module).parameters():
            parameter.data /= 2
        return module


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


class TestHalvingPrecision(PrecisionContract):
    """A suite that let this pass would let modules change with each stage of a run."""

    tolerance = 1.0

    @pytest.fixture
    def precision(self) -> Precision:
        return Halving()

    @mistake
    def test_converting_again_changes_nothing(self, precision: Precision) -> None:
        super().test_converting_again_changes_nothing(precision)

    @mistake
    def test_loading_plain_weights_is_the_same_as_converting_them(self, precision: Precision) -> None:
        super().test_loading_plain_weights_is_the_same_as_converting_them(precision)


class TestTrainingPrecisionThatSaysItOnlyInfers(PrecisionContract):
    trains = False

    @pytest.fixture
    def precision(self) -> Precision:
        return ToyPrecision()

    @pytest.mark.xfail(reason="the mistake under test", raises=pytest.fail.Exception, strict=True)
    def test_refuses_to_train_if_it_only_infers(self, precision: Precision) -> None:
        super().test_refuses_to_train_if_it_only_infers(precision)
