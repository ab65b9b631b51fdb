"""What every accumulation window promises."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from lt_interfaces.strategy import Capability, Strategy
from lt_interfaces.testing.data import RegressionDataset
from lt_interfaces.testing.models import TinyRegressor, whole


class WindowContract:
    """Subclass it and override `strategy`; in a job of one process.

    What windows promise on several ranks is in `DistributedStrategyContract`.
    """

    @pytest.fixture
    def strategy(self) -> Strategy:
        """Return a strategy, connected and with its environment set up, whose windows are checked."""
        raise NotImplementedError

    def test_one_micro_batch_is_the_whole_batch(self, strategy: Strategy) -> None:
        assert_same_gradients(*gradients(strategy, planned=1, sizes=[8]))

    def test_equal_micro_batches_make_the_whole_batch(self, strategy: Strategy) -> None:
        assert_same_gradients(*gradients(strategy, planned=4, sizes=[4, 4, 4, 4]))

    def test_a_window_divides_by_what_it_held(self, strategy: Strategy) -> None:
        assert_same_gradients(*gradients(strategy, planned=4, sizes=[4, 4, 4]))

    def test_weights_make_micro_batches_of_any_size_the_whole_batch(self, strategy: Strategy) -> None:
        assert_same_gradients(*gradients(strategy, planned=3, sizes=[1, 9, 5], weights=[1.0, 9.0, 5.0]))

    def test_weights_may_be_tensors(self, strategy: Strategy) -> None:
        assert_same_gradients(*gradients(strategy, planned=3, sizes=[7, 2, 6], weights=torch.tensor([7, 2, 6])))

    def test_a_weighted_window_may_end_early(self, strategy: Strategy) -> None:
        assert_same_gradients(*gradients(strategy, planned=5, sizes=[3, 8], weights=[3.0, 8.0]))

    def test_a_weight_of_zero_counts_for_nothing(self, strategy: Strategy) -> None:
        found, _ = gradients(strategy, planned=2, sizes=[6, 6], weights=[1.0, 0.0])
        expected, _ = gradients(strategy, planned=1, sizes=[6])
        assert_same_gradients(found, expected)

    def test_the_next_window_starts_afresh(self, strategy: Strategy) -> None:
        gradients(strategy, planned=4, sizes=[2, 2, 2], weights=[2.0, 2.0, 2.0])
        assert_same_gradients(*gradients(strategy, planned=2, sizes=[4, 4]))

    def test_counts_the_micro_batches_it_holds(self, strategy: Strategy) -> None:
        module = trained_by(strategy)
        window = strategy.open_window(3)
        assert window.held == 0
        for number in (1, 2):
            window.begin(is_last=False)
            window.add(loss_of(module, slice(0, 4), strategy))
            assert window.held == number

    @pytest.mark.parametrize("weights", [(1.0, None), (None, 1.0)])
    def test_some_weights_are_refused(self, strategy: Strategy, weights: Sequence[float | None]) -> None:
        module = trained_by(strategy)
        window = strategy.open_window(2)
        window.begin(is_last=False)
        window.add(loss_of(module, slice(0, 4), strategy), weights[0])
        window.begin(is_last=True)
        with pytest.raises(ValueError, match="weight"):
            window.add(loss_of(module, slice(4, 8), strategy), weights[1])

    @pytest.mark.parametrize("weights", [None, (2.0, 7.0, 3.0)])
    def test_goes_on_from_its_saved_state(self, strategy: Strategy, weights: Sequence[float] | None) -> None:
        if not strategy.supports(Capability.SAVING_IN_WINDOW):
            pytest.skip("this strategy finishes a window before it saves")
        module = trained_by(strategy)
        window = strategy.open_window(4)
        rows = [slice(0, 2), slice(2, 9), slice(9, 12)]
        for number, part in enumerate(rows):
            if number == 1:
                saved = window.state_dict()
                window = strategy.open_window(4)
                window.load_state_dict(saved)
            window.begin(is_last=number == len(rows) - 1)
            loss = loss_of(module, part, strategy)
            strategy.backward(window.add(loss, None if weights is None else weights[number]), Tensor.backward)
        window.close()
        found = [whole(parameter.grad).clone() for parameter in module.parameters() if parameter.grad is not None]
        expected, _ = gradients(strategy, planned=4, sizes=[2, 7, 3], weights=weights)
        assert_same_gradients(found, expected)

    def test_an_empty_window_closes_quietly(self, strategy: Strategy) -> None:
        strategy.open_window(2).close()


def gradients(
    strategy: Strategy, *, planned: int, sizes: Sequence[int], weights: Sequence[float] | Tensor | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients that a window made of micro-batches, and those of the whole batch at once.

    Args:
        strategy: whose window.
        planned: the window's planned length.
        sizes: of the micro-batches that really come.
        weights: one per micro-batch; a tensor's elements are given as tensors.
    """
    module = trained_by(strategy)
    window = strategy.open_window(planned)
    start = 0
    for number, size in enumerate(sizes):
        window.begin(is_last=number == planned - 1)
        loss = loss_of(module, slice(start, start + size), strategy)
        weight = None if weights is None else weights[number]
        strategy.backward(window.add(loss, weight), Tensor.backward)
        start += size
    window.close()
    found = [whole(parameter.grad).clone() for parameter in module.parameters() if parameter.grad is not None]
    at_once = TinyRegressor().to(strategy.root_device)
    torch.autograd.backward(loss_of(at_once, slice(0, start), strategy))
    return found, [parameter.grad for parameter in at_once.parameters() if parameter.grad is not None]


def trained_by(strategy: Strategy) -> nn.Module:
    """Return a module, set up for training."""
    module = TinyRegressor()
    wrapped, _ = strategy.setup(module, lambda: [SGD(module.parameters(), lr=0.1)])
    return wrapped


def loss_of(module: nn.Module, rows: slice, strategy: Strategy) -> Tensor:
    """Return the mean loss of some rows."""
    data = RegressionDataset(length=64)
    inputs, targets = data.rows[rows].to(strategy.root_device), data.targets[rows].to(strategy.root_device)
    return nn.functional.mse_loss(module(inputs), targets)


def assert_same_gradients(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Fail unless both are the same up to rounding."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
