"""Scaled losses: rounds of gradients, skipped steps, the scale, and what autocast may remember of weights."""

import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from overflowing_ranks import skipped_together
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import LBFGS, SGD, Adam, Optimizer

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing.ranks import run_in_processes
from lt_precision.mixed import MixedPrecision

SCALE = 1024.0


def scaling(**kwargs: Any) -> MixedPrecision:
    """Return the precision that scales losses, with a small scale."""
    return MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=SCALE, **kwargs))


def scale_of(precision: MixedPrecision) -> float:
    assert precision.scaler is not None
    return precision.scaler.get_scale()


def nothing(_: Optimizer) -> None:
    """Prepare nothing before a step."""


def weights(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full((3,), value))


def make_gradients(precision: MixedPrecision, *parameters: Tensor, gradient: float = 1.0) -> None:
    loss = torch.stack([(parameter * gradient).sum() for parameter in parameters]).sum()
    precision.backward(loss, Tensor.backward)


def stepping(precision: MixedPrecision, weight: Tensor, *, gradient: float = 1.0) -> Callable[[], Tensor]:
    """Return the closure of automatic optimization."""

    def closure() -> Tensor:
        weight.grad = None
        make_gradients(precision, weight, gradient=gradient)
        return torch.zeros(())

    return closure


@pytest.mark.parametrize("name", ["16-mixed", "bf16-mixed"])
def test_weights_that_were_updated_within_a_training_step_are_used_in_the_rest_of_it(name: str) -> None:
    precision = scaling() if name == "16-mixed" else MixedPrecision(name, "cpu")
    module = nn.Linear(1, 1, bias=False)
    optimizer = SGD(module.parameters(), lr=1.0)
    nn.init.constant_(module.weight, 3.0)
    with precision.forward_context():
        precision.backward(module(torch.ones(1, 1)).sum(), Tensor.backward)
        precision.optimizer_step(optimizer, lambda: None, nothing)
        assert module(torch.ones(1, 1)).item() == module.weight.item() == 2.0


@pytest.mark.parametrize("name", ["16-mixed", "bf16-mixed"])
def test_backward_and_updates_run_outside_of_autocast(name: str) -> None:
    precision = MixedPrecision(name, "cpu")
    weight = weights()
    seen = []

    def note(*_: Any) -> None:
        seen.append(torch.is_autocast_enabled("cpu"))

    def run_backward(loss: Tensor) -> None:
        note()
        loss.backward()

    optimizer = SGD([weight], lr=0.1)
    optimizer.register_step_pre_hook(note)
    with precision.forward_context():
        precision.backward(weight.sum(), run_backward)
        precision.optimizer_step(optimizer, lambda: None, note)
        assert torch.is_autocast_enabled("cpu")
    assert seen == [False] * 3


def test_a_closure_that_lbfgs_evaluates_again_within_a_step_computes_in_bfloat16() -> None:
    precision = MixedPrecision("bf16-mixed", "cpu")
    module = nn.Linear(2, 1)
    dtypes = []

    def closure() -> Tensor:
        module.zero_grad()
        output = module(torch.ones(1, 2))
        dtypes.append(output.dtype)
        loss = output.float().square().sum()
        precision.backward(loss, Tensor.backward)
        return loss

    with precision.forward_context():
        precision.optimizer_step(LBFGS(module.parameters(), lr=0.01, max_iter=3), closure, nothing)
    assert len(dtypes) > 1
    assert set(dtypes) == {torch.bfloat16}


def test_optimizers_that_evaluate_their_closure_again_are_refused_before_anything_runs() -> None:
    class Searching(SGD):
        def step(self, closure: Any) -> Any:  # type: ignore[override]
            raise AssertionError

    called: list[None] = []
    for optimizer in (LBFGS([weights()]), Searching([weights()], lr=0.1)):
        with pytest.raises(MisconfigurationException, match=f"{type(optimizer).__name__}.*'bf16-mixed'"):
            scaling().optimizer_step(optimizer, lambda: called.append(None), nothing)
    assert called == []


def test_a_strangers_optimizer_that_may_take_a_closure_is_stepped_without_it() -> None:
    class Lion(Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {})

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            assert closure is None
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter -= parameter.grad.sign()

    precision, weight = scaling(), weights()
    precision.optimizer_step(Lion([weight]), stepping(precision, weight, gradient=0.5), nothing)
    assert weight.tolist() == [0.0] * 3


@pytest.mark.parametrize("make", [SGD, Adam, lambda params, lr: Adam(params, lr=lr, fused=True)])
def test_a_step_whose_gradients_overflow_is_skipped_and_the_scale_halved_at_once(make: Any) -> None:
    own = GradScaler("cpu", init_scale=SCALE)
    precision, weight = MixedPrecision("16-mixed", "cpu", own), weights()
    optimizer = make([weight], lr=0.1)
    precision.optimizer_step(optimizer, stepping(precision, weight, gradient=torch.inf), nothing)
    assert precision.step_was_skipped
    assert weight.tolist() == [1.0] * 3
    assert own.get_scale() == SCALE / 2
    precision.optimizer_step(optimizer, stepping(precision, weight), nothing)
    assert not precision.step_was_skipped
    assert torch.allclose(weight.detach(), torch.full((3,), 0.9))


def test_a_gradient_too_small_for_float16_is_not_lost() -> None:
    precision, weight = MixedPrecision("16-mixed", "cpu"), weights()
    tiny = 2.0**-30
    with precision.forward_context():
        loss = torch.nn.functional.linear(torch.ones(1, 3), weight[None]).sum()
    precision.backward(loss.float() * tiny, Tensor.backward)
    precision.unscale_gradients(SGD([weight], lr=1.0))
    assert weight.grad is not None
    assert weight.grad.tolist() == [tiny] * 3


def test_a_second_step_from_the_same_gradients_does_not_unscale_them_again() -> None:
    precision, weight = scaling(), weights(2.0)
    optimizer = SGD([weight], lr=1.0)
    make_gradients(precision, weight)
    precision.optimizer_step(optimizer, lambda: None, nothing)
    precision.optimizer_step(optimizer, lambda: None, nothing)
    assert weight.tolist() == [0.0] * 3


def test_optimizers_that_share_a_round_of_gradients_share_its_scale() -> None:
    precision, first, second = scaling(), weights(), weights()
    make_gradients(precision, first, gradient=torch.inf)
    make_gradients(precision, second)
    one, other = SGD([first], lr=1.0), SGD([second], lr=1.0)
    precision.optimizer_step(one, lambda: None, nothing)
    assert precision.step_was_skipped
    precision.optimizer_step(other, lambda: None, nothing)
    assert not precision.step_was_skipped
    assert second.tolist() == [0.0] * 3  # a halved scale would have left a gradient of 2
    assert scale_of(precision) == SCALE / 2


def test_optimizers_that_take_turns_each_use_the_scale_of_their_backward() -> None:
    precision, first, second = scaling(growth_interval=1), weights(3.0), weights(3.0)
    one, other = SGD([first], lr=1.0), SGD([second], lr=1.0)
    for _ in range(2):
        for optimizer, weight in ((one, first), (other, second)):
            optimizer.zero_grad()
            make_gradients(precision, weight)
            precision.optimizer_step(optimizer, lambda: None, nothing)
    assert first.tolist() == second.tolist() == [1.0] * 3
    assert scale_of(precision) == SCALE * 2**4


def test_gradients_clipped_before_another_backward_are_not_unscaled_again() -> None:
    precision, first, second = scaling(growth_interval=1), weights(), weights()
    one, other = SGD([first], lr=1.0), SGD([second], lr=1.0)
    make_gradients(precision, first)
    precision.unscale_gradients(one)
    make_gradients(precision, second)
    precision.unscale_gradients(other)
    precision.optimizer_step(one, lambda: None, nothing)
    precision.optimizer_step(other, lambda: None, nothing)
    assert first.tolist() == second.tolist() == [0.0] * 3


def test_clipping_without_a_step_does_not_disturb_the_next_one() -> None:
    precision, weight = scaling(), weights()
    optimizer = SGD([weight], lr=1.0)
    make_gradients(precision, weight, gradient=torch.inf)
    precision.unscale_gradients(optimizer)
    optimizer.zero_grad()
    make_gradients(precision, weight)
    precision.unscale_gradients(optimizer)
    precision.optimizer_step(optimizer, lambda: None, nothing)
    assert weight.tolist() == [0.0] * 3
    assert scale_of(precision) == SCALE / 2


def test_adding_to_gradients_that_were_clipped_is_refused() -> None:
    precision, weight = scaling(), weights()
    optimizer = SGD([weight], lr=1.0)
    make_gradients(precision, weight)
    precision.unscale_gradients(optimizer)
    with pytest.raises(RuntimeError, match=r"SGD.*Clip after the last `backward`"):
        make_gradients(precision, weight)
    optimizer.zero_grad()
    precision.optimizer_step(optimizer, stepping(precision, weight), nothing)
    assert weight.tolist() == [0.0] * 3


def test_an_optimizer_without_gradients_steps_and_counts_as_stepped() -> None:
    precision, stepped, idle = scaling(), weights(), weights()
    make_gradients(precision, stepped, gradient=torch.inf)
    precision.optimizer_step(SGD([stepped], lr=1.0), lambda: None, nothing)
    precision.optimizer_step(SGD([idle], lr=1.0), lambda: None, nothing)
    assert not precision.step_was_skipped
    precision.optimizer_step(SGD([stepped], lr=1.0), lambda: None, nothing)


@pytest.mark.parametrize("raising", ["closure", "before_step", "step"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_step_that_raises_counts_as_never_begun(raising: str, error: type[BaseException]) -> None:
    precision, weight = scaling(), weights()
    optimizer = SGD([weight], lr=1.0)
    before = precision.state_dict()

    def fail(*_: Any) -> None:
        raise error

    with pytest.raises(error):  # noqa: PT012  # what raises is in one of three places
        if raising == "closure":
            precision.optimizer_step(optimizer, fail, nothing)
        elif raising == "before_step":
            precision.optimizer_step(optimizer, stepping(precision, weight, gradient=torch.inf), fail)
        else:
            failing = optimizer.register_step_pre_hook(fail)
            try:
                precision.optimizer_step(optimizer, stepping(precision, weight), nothing)
            finally:
                failing.remove()
    assert precision.state_dict() == before
    precision.optimizer_step(optimizer, stepping(precision, weight), nothing)
    assert weight.tolist() == [0.0] * 3
    assert precision.state_dict()["_growth_tracker"] == 1


def test_gradients_of_an_earlier_run_are_forgotten() -> None:
    precision, weight = scaling(), weights()
    make_gradients(precision, weight)
    precision.unscale_gradients(SGD([weight], lr=1.0))
    precision.convert_module(nn.Linear(1, 1))
    weight.grad = None
    precision.optimizer_step(SGD([weight], lr=1.0), stepping(precision, weight), nothing)
    assert weight.tolist() == [0.0] * 3


def test_state_is_the_scalers_and_comes_back() -> None:
    precision, weight = scaling(), weights()
    precision.optimizer_step(SGD([weight], lr=1.0), stepping(precision, weight, gradient=torch.inf), nothing)
    assert precision.checkpoint_key == "MixedPrecision"
    file = io.BytesIO()
    torch.save(precision.state_dict(), file)
    file.seek(0)
    other = MixedPrecision("16-mixed", "cpu")
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.state_dict() == precision.state_dict()
    assert scale_of(other) == SCALE / 2


def test_state_of_lightnings_files_loads() -> None:
    """Lightning stores what torch's scaler returns under the same key."""
    stored = {"scale": 256.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    precision = MixedPrecision("16-mixed", "cpu")
    precision.load_state_dict({**stored, "_growth_tracker": 7})
    assert precision.state_dict() == {**stored, "_growth_tracker": 7}


def test_there_is_no_state_without_a_scaler() -> None:
    precision = MixedPrecision("bf16-mixed", "cpu")
    assert (precision.checkpoint_key, precision.state_dict(), precision.scaler) == (None, {}, None)


def test_a_disabled_scaler_neither_scales_nor_skips() -> None:
    precision, weight = MixedPrecision("16-mixed", "cpu", GradScaler("cpu", enabled=False)), weights()
    precision.optimizer_step(SGD([weight], lr=1.0), stepping(precision, weight), nothing)
    assert weight.tolist() == [0.0] * 3
    precision.load_state_dict(precision.state_dict())


def test_it_travels_to_other_processes() -> None:
    copy = pickle.loads(pickle.dumps(scaling()))
    assert scale_of(copy) == SCALE


@pytest.mark.parametrize(("num_sharded", "infinite"), [(2, 0), (1, 0), (1, 1), (1, None)])
def test_an_infinity_on_one_rank_skips_the_step_on_all_whatever_is_sharded(
    num_sharded: int, infinite: int | None
) -> None:
    is_skipped = infinite is not None
    expected = (is_skipped, 512.0 if is_skipped else 1024.0, not is_skipped)
    assert run_in_processes(skipped_together, num_sharded, infinite) == [expected] * 2
