import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lt_fabric.single_device import SingleDeviceStrategy
from lt_fabric.window import SingleDeviceWindow
from lt_interfaces.testing import WindowContract

sizes = st.lists(st.integers(1, 7), min_size=1, max_size=6)


class TestSingleDeviceWindow(WindowContract):
    @pytest.fixture
    def strategy(self) -> SingleDeviceStrategy:
        return SingleDeviceStrategy()


def gradient(weight: nn.Parameter, rows: Tensor) -> Tensor:
    weight.grad = None
    ((rows @ weight) ** 2).mean().backward()
    assert weight.grad is not None
    return weight.grad.clone()


def accumulated(weight: nn.Parameter, chunks: list[Tensor], *, planned: int, weights: list[float] | None) -> Tensor:
    weight.grad = None
    window = SingleDeviceWindow(lambda: [weight])
    window.reopen(planned)
    for number, rows in enumerate(chunks):
        window.begin(is_last=number == planned - 1)
        loss = ((rows @ weight) ** 2).mean()
        window.add(loss, None if weights is None else weights[number]).backward()
    window.close()
    assert weight.grad is not None
    return weight.grad.clone()


def cut(lengths: list[int]) -> tuple[nn.Parameter, Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    rows = torch.randn(sum(lengths), 3, dtype=torch.float64, generator=generator)
    weight = nn.Parameter(torch.randn(3, dtype=torch.float64, generator=generator))
    return weight, rows, list(rows.split(lengths))


@settings(deadline=None)
@given(lengths=sizes, planned=st.integers(1, 8))
def test_weights_make_any_cut_the_whole_batch(lengths: list[int], planned: int) -> None:
    weight, rows, chunks = cut(lengths)
    found = accumulated(weight, chunks, planned=planned, weights=[float(length) for length in lengths])
    torch.testing.assert_close(found, gradient(weight, rows))


@settings(deadline=None)
@given(length=st.integers(1, 7), count=st.integers(1, 6), planned=st.integers(1, 8))
def test_equal_micro_batches_make_the_whole_batch_however_many_come(length: int, count: int, planned: int) -> None:
    weight, rows, chunks = cut([length] * count)
    found = accumulated(weight, chunks, planned=planned, weights=None)
    torch.testing.assert_close(found, gradient(weight, rows))


@settings(deadline=None)
@given(lengths=sizes, factor=st.floats(1e-6, 1e6))
def test_only_the_ratio_of_weights_counts(lengths: list[int], factor: float) -> None:
    weight, rows, chunks = cut(lengths)
    found = accumulated(weight, chunks, planned=len(chunks), weights=[factor * length for length in lengths])
    torch.testing.assert_close(found, gradient(weight, rows))


def test_one_micro_batch_costs_no_arithmetic() -> None:
    window = SingleDeviceWindow(list)
    window.reopen(1)
    loss = torch.ones((), requires_grad=True)
    assert window.add(loss) is loss


def test_heavy_weights_do_not_overflow_half_precision() -> None:
    window = SingleDeviceWindow(list)
    window.reopen(2)
    loss = torch.tensor(3.0, dtype=torch.float16)
    for _ in range(2):
        assert window.add(loss, 1e6) == 3.0


def test_the_first_weight_may_be_zero() -> None:
    weight, rows, _ = cut([4, 4])
    found = accumulated(weight, list(rows.split(4)), planned=2, weights=[0.0, 2.0])
    torch.testing.assert_close(found, gradient(weight, rows[4:]))


def test_nothing_but_zeros_makes_no_gradient() -> None:
    weight, _, chunks = cut([4, 4])
    assert accumulated(weight, chunks, planned=2, weights=[0.0, 0.0]).abs().max() == 0


@pytest.mark.parametrize("weight", [None, 3.0])
def test_the_window_of_one_micro_batch_leaves_its_loss_alone(weight: float | None) -> None:
    window = SingleDeviceStrategy("cpu").open_window(1)
    loss = torch.tensor(2.0, requires_grad=True)
    window.begin(is_last=True)
    assert window.add(loss, weight) is loss
    window.close()
    assert window.held == 1
    assert SingleDeviceStrategy("cpu").open_window(1).held == 0


@pytest.mark.parametrize("weight", [0, 0.0, torch.tensor(0)])
def test_a_window_of_one_micro_batch_that_counts_for_nothing_has_no_gradient(weight: float | torch.Tensor) -> None:
    parameter = torch.nn.Parameter(torch.tensor(2.0))
    SingleDeviceStrategy("cpu").open_window(1).add(parameter * 3, weight).backward()
    assert parameter.grad == 0
