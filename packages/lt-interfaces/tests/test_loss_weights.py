import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_interfaces.loss_weights import LossWeights, positive


def gradient_of(weights: LossWeights, losses: list[float], of: list[float | torch.Tensor] | None) -> float:
    """Return what a window makes of losses whose own gradients are these numbers."""
    parts = [weights.scaled(torch.tensor(loss), None if of is None else of[i]) for i, loss in enumerate(losses)]
    factor = weights.factor()
    return float(torch.stack(parts).sum() * (1.0 if factor is None else factor))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.integers(0, 3))
def test_without_weights_a_window_is_the_mean_of_what_it_held(losses: list[float], missing: int) -> None:
    weights = LossWeights()
    weights.reopen(len(losses) + missing)
    assert gradient_of(weights, losses, None) == pytest.approx(sum(losses) / len(losses), rel=1e-4, abs=1e-4)


@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 5000)), min_size=1, max_size=6), st.booleans())
def test_with_weights_it_is_their_mean(parts: list[tuple[float, int]], as_tensors: bool) -> None:
    weights = LossWeights()
    weights.reopen(len(parts) + 1)
    total = sum(weight for _, weight in parts)
    expected = sum(loss * weight for loss, weight in parts) / total if total else 0.0
    given_weights = [torch.tensor(float(weight)) if as_tensors else float(weight) for _, weight in parts]
    found = gradient_of(weights, [loss for loss, _ in parts], given_weights)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_full_window_without_weights_needs_no_factor() -> None:
    weights = LossWeights()
    weights.reopen(1)
    loss = torch.tensor(3.0)
    assert weights.scaled(loss) is loss
    assert weights.factor() is None


def test_an_empty_window_needs_no_factor() -> None:
    assert LossWeights().factor() is None


def test_losses_stay_near_their_size_whatever_the_weights() -> None:
    weights = LossWeights()
    weights.reopen(2)
    assert weights.scaled(torch.tensor(2.0, dtype=torch.float16), 100_000.0).item() == 2.0


def test_a_reference_of_others_is_taken() -> None:
    weights = LossWeights()
    weights.reopen(1)
    assert weights.scaled(torch.tensor(2.0), 3.0, reference=6.0).item() == 1.0
    assert weights.factor(12.0) == 0.5


@pytest.mark.parametrize(("first", "then", "given_now"), [(1.0, None, "no"), (None, 1.0, "a")])
def test_weights_are_for_all_micro_batches_or_none(first: float | None, then: float | None, given_now: str) -> None:
    weights = LossWeights()
    weights.reopen(2)
    weights.scaled(torch.tensor(1.0), first)
    with pytest.raises(ValueError, match=f"Micro-batch 2 of this accumulation window has {given_now} weight"):
        weights.scaled(torch.tensor(1.0), then)


def test_state_goes_on_within_a_window_and_reopening_forgets_it() -> None:
    weights, other = LossWeights(), LossWeights()
    weights.reopen(3)
    weights.scaled(torch.tensor(1.0), torch.tensor(4.0))
    other.load_state_dict(weights.state_dict())
    for one in (weights, other):
        one.scaled(torch.tensor(1.0), 6.0)
    assert other.factor() == weights.factor()
    other.reopen(1)
    assert other.state_dict() == LossWeights().state_dict()


def test_weights_carry_no_graph() -> None:
    weights = LossWeights()
    weights.reopen(1)
    weights.scaled(torch.tensor(1.0), torch.tensor(4.0, requires_grad=True))
    assert not torch.as_tensor(weights.state_dict()["weight"]).requires_grad
    assert not torch.as_tensor(weights.state_dict()["reference"]).requires_grad


@pytest.mark.parametrize(("weight", "expected"), [(2.0, 2.0), (0.0, 1.0)])
def test_zero_is_nothing_to_divide_by(weight: float, expected: float) -> None:
    assert positive(weight) == expected
    assert positive(torch.tensor(weight)) == torch.tensor(expected)
