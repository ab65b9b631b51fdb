import pytest
import torch
from torch import Tensor
from toy_parts import ToyAccelerator, ToyEnvironment, ToyPrecision, ToyStrategy, ToyWindow

from lt_interfaces.accumulation import AccumulationWindow
from lt_interfaces.strategy import Assembly, Strategy
from lt_interfaces.testing import WindowContract


def ready(strategy: Strategy) -> Strategy:
    strategy.connect(Assembly(ToyAccelerator(), [torch.device("cpu")], 1, ToyEnvironment(), ToyPrecision()))
    return strategy


class TestToyWindow(WindowContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return ready(ToyStrategy())


class Planned(ToyWindow):
    """Divides by the planned length, whatever it held, and by no weight."""

    def __init__(self, length: int) -> None:
        super().__init__(list)
        self._length = length

    def add(self, loss: Tensor, weight: float | Tensor | None = None) -> Tensor:
        self.held += 1
        return loss / self._length


class DividesByPlan(ToyStrategy):
    def open_window(self, length: int) -> AccumulationWindow:
        return Planned(length)


def test_division_by_the_plan_is_right_for_full_windows_of_equal_parts_only() -> None:
    suite, strategy = WindowContract(), ready(DividesByPlan())
    suite.test_equal_micro_batches_make_the_whole_batch(strategy)
    with pytest.raises(AssertionError):
        suite.test_a_window_divides_by_what_it_held(strategy)
    with pytest.raises(AssertionError):
        suite.test_weights_make_micro_batches_of_any_size_the_whole_batch(strategy)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        suite.test_some_weights_are_refused(strategy, (1.0, None))
