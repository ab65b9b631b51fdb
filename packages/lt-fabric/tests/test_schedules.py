import io
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

import lt_fabric
from lt_fabric import CosineWithWarmup, Fabric
from lt_fabric.schedules import ExponentialWarmup, LinearWarmup
from lt_interfaces.errors import MisconfigurationException

RATES = st.floats(1e-8, 1e3)
FACTORS = st.floats(1e-6, 1)
Schedule = Callable[[Optimizer], LRScheduler]
unhurried = settings(deadline=None, max_examples=60)  # other processes may be busy


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, int, float]:
    """Draw a schedule of any kind: how to make it, its number of warm-up steps, and its factor at step 0."""
    warmup_steps = draw(st.integers(0, 40))
    start = draw(st.none() | FACTORS)
    arguments: dict[str, Any] = {"warmup_steps": warmup_steps, "start_factor": start}
    kind = draw(st.sampled_from([LinearWarmup, ExponentialWarmup, CosineWithWarmup]))
    if kind is CosineWithWarmup:
        arguments["total_steps"] = warmup_steps + draw(st.integers(1, 40))
        arguments["end_factor"] = draw(st.floats(0, 1))
    first = 1.0 if warmup_steps == 0 else 1 / (warmup_steps + 1) if start is None else start
    return partial(kind, **arguments), warmup_steps, first


def optimizer_with(*rates: float | Tensor) -> SGD:
    return SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def step(scheduler: LRScheduler) -> None:
    """Step as torch asks for: the optimizer first."""
    scheduler.optimizer.step()
    scheduler.step()


def used(scheduler: LRScheduler, num_steps: int) -> list[list[float]]:
    """Return the rates that the next steps use, of all parameter groups."""
    rates = []
    for _ in range(num_steps):
        rates.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
        assert rates[-1] == [float(rate) for rate in scheduler.get_last_lr()]
        step(scheduler)
    return rates


def rates_of(schedule: Schedule, num_steps: int, rate: float = 1.0) -> list[float]:
    return [rates[0] for rates in used(schedule(optimizer_with(rate)), num_steps)]


# --- the curve ---


@unhurried
@given(drawn=schedules(), rate=RATES)
def test_it_starts_at_the_start_factor_and_reaches_the_rate_exactly_when_warm_up_ends(
    drawn: tuple[Schedule, int, float], rate: float
) -> None:
    schedule, warmup_steps, first = drawn
    rates = rates_of(schedule, warmup_steps + 1, rate)
    assert rates[0] == rate * first
    assert rates[warmup_steps] == rate


@unhurried
@given(drawn=schedules(), rate=RATES)
def test_it_never_falls_in_warm_up_and_is_never_above_the_rate(drawn: tuple[Schedule, int, float], rate: float) -> None:
    schedule, warmup_steps, _ = drawn
    rates = rates_of(schedule, warmup_steps + 50, rate)
    assert rates[: warmup_steps + 1] == sorted(rates[: warmup_steps + 1])
    assert max(rates) == rate


@unhurried
@given(warmup_steps=st.integers(0, 40), start=FACTORS, kind=st.sampled_from([LinearWarmup, ExponentialWarmup]))
def test_the_rate_is_kept_after_warm_up(warmup_steps: int, start: float, kind: Any) -> None:
    rates = rates_of(partial(kind, warmup_steps=warmup_steps, start_factor=start), warmup_steps + 20, 0.3)
    assert rates[warmup_steps:] == [0.3] * 20


@unhurried
@given(warmup=st.integers(0, 20), falling=st.integers(1, 40), end=st.floats(0, 1), rate=RATES)
def test_cosine_falls_to_its_minimum_and_stays_there(warmup: int, falling: int, end: float, rate: float) -> None:
    total = warmup + falling
    rates = rates_of(partial(CosineWithWarmup, warmup_steps=warmup, total_steps=total, end_factor=end), total + 9, rate)
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[total:] == [rate * end] * 9
    assert min(rates[warmup:]) == rate * end


@unhurried
@given(drawn=schedules(), rates=st.lists(RATES, min_size=2, max_size=4))
def test_each_parameter_group_is_scaled_by_the_same_factor(
    drawn: tuple[Schedule, int, float], rates: list[float]
) -> None:
    schedule, warmup_steps, _ = drawn
    together = used(schedule(optimizer_with(*rates)), warmup_steps + 10)
    alone = [rates_of(schedule, warmup_steps + 10, rate) for rate in rates]
    assert together == [list(row) for row in zip(*alone, strict=True)]
    factors = rates_of(schedule, warmup_steps + 10, 1.0)
    assert together == [[rate * factor for rate in rates] for factor in factors]


def test_linear_warm_up_rises_by_equal_amounts_and_its_first_step_counts() -> None:
    assert rates_of(partial(LinearWarmup, warmup_steps=4), 6) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates_of(partial(LinearWarmup, warmup_steps=4, start_factor=0), 5) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_exponential_warm_up_rises_by_equal_ratios() -> None:
    rates = rates_of(partial(ExponentialWarmup, warmup_steps=4, start_factor=0.0001), 6)
    assert rates == pytest.approx([0.0001, 0.001, 0.01, 0.1, 1.0, 1.0])
    assert rates_of(partial(ExponentialWarmup, warmup_steps=3), 1) == [0.25]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    rates = rates_of(partial(CosineWithWarmup, warmup_steps=1, total_steps=5, end_factor=0.2), 7)
    assert rates == pytest.approx([0.5, 1.0, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.2])


def test_rounding_does_not_lead_below_the_minimum_of_a_long_run() -> None:
    scheduler = CosineWithWarmup(optimizer_with(1.0), warmup_steps=0, total_steps=10**9, end_factor=0.1)
    scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": 10**9 - 3})
    step(scheduler)
    assert used(scheduler, 4) == [[0.1]] * 4


# --- torch's schedulers are the measure ---


@unhurried
@given(warmup_steps=st.integers(1, 40), start=FACTORS)
def test_linear_warm_up_agrees_with_torch(warmup_steps: int, start: float) -> None:
    ours = rates_of(partial(LinearWarmup, warmup_steps=warmup_steps, start_factor=start), warmup_steps + 5)
    theirs = rates_of(partial(LinearLR, start_factor=start, total_iters=warmup_steps), warmup_steps + 5)
    assert ours == pytest.approx(theirs, rel=1e-9)


@unhurried
@given(total_steps=st.integers(1, 40), end=st.floats(0, 1))
def test_cosine_without_warm_up_agrees_with_torch_until_its_minimum(total_steps: int, end: float) -> None:
    ours = rates_of(partial(CosineWithWarmup, warmup_steps=0, total_steps=total_steps, end_factor=end), total_steps + 1)
    theirs = rates_of(partial(CosineAnnealingLR, T_max=total_steps, eta_min=end), total_steps + 1)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_warm_up_goes_before_any_schedule_of_torch() -> None:
    def warmed_up(optimizer: Optimizer) -> LRScheduler:
        return SequentialLR(optimizer, [LinearWarmup(optimizer, 3), CosineAnnealingLR(optimizer, T_max=6)], [3])

    ours = rates_of(partial(CosineWithWarmup, warmup_steps=3, total_steps=9), 10)
    assert rates_of(warmed_up, 10) == pytest.approx(ours, abs=1e-9)


def test_rates_that_are_tensors_stay_the_same_tensors() -> None:
    rate = torch.tensor(0.5)
    optimizer = optimizer_with(rate)
    scheduler = LinearWarmup(optimizer, warmup_steps=1)
    assert used(scheduler, 3) == [[0.25], [0.5], [0.5]]
    assert optimizer.param_groups[0]["lr"] is rate


# --- going on ---


@unhurried
@given(drawn=schedules(), place=st.integers(0, 60))
def test_a_scheduler_that_loads_is_where_one_is_that_stepped(drawn: tuple[Schedule, int, float], place: int) -> None:
    schedule = drawn[0]
    stepped = schedule(optimizer_with(0.3, 7.0))
    used(stepped, place)
    jumped = schedule(optimizer_with(0.3, 7.0))
    jumped.load_state_dict(stepped.state_dict())
    assert jumped.get_last_lr() == stepped.get_last_lr()
    step(stepped)
    step(jumped)
    assert used(jumped, 5) == used(stepped, 5)


@unhurried
@given(drawn=schedules(), place=st.integers(0, 60))
def test_a_scheduler_told_its_last_step_is_where_one_is_that_stepped(
    drawn: tuple[Schedule, int, float], place: int
) -> None:
    schedule = drawn[0]
    stepped = schedule(optimizer_with(0.3, 7.0))
    used(stepped, place)
    told = schedule(stepped.optimizer, last_epoch=place - 1)  # type: ignore[call-arg]  # all of them have it
    assert told.get_last_lr() == stepped.get_last_lr()


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def train(optimizer: Optimizer, scheduler: LRScheduler, steps: Sequence[int]) -> list[float]:
    """Train one step for each number, and return the rates used."""
    rates = []
    for number in steps:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.sin(parameter.detach() * (number + 1))
        rates += [float(group["lr"]) for group in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    return rates


@unhurried
@given(drawn=schedules(), place=st.integers(0, 50))
def test_training_that_goes_on_from_a_file_has_the_same_rates_and_weights_to_the_bit(
    drawn: tuple[Schedule, int, float], place: int
) -> None:
    def begun(weights: Sequence[Tensor]) -> tuple[list[nn.Parameter], Optimizer, LRScheduler]:
        parameters = [nn.Parameter(weight.clone()) for weight in weights]
        groups: list[dict[str, Any]] = [{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 0.1}]
        optimizer = AdamW(groups, lr=0.03)
        return parameters, optimizer, drawn[0](optimizer)

    whole, optimizer, scheduler = begun([torch.ones(3), torch.full((2,), 0.5)])
    train(optimizer, scheduler, range(place))
    saved = through_a_file([whole, optimizer.state_dict(), scheduler.state_dict()])
    expected = train(optimizer, scheduler, range(place, place + 30))

    resumed, optimizer, scheduler = begun([parameter.detach() for parameter in saved[0]])
    optimizer.load_state_dict(saved[1])
    scheduler.load_state_dict(saved[2])
    assert train(optimizer, scheduler, range(place, place + 30)) == expected
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(resumed, whole, strict=True))


@unhurried
@given(drawn=schedules())
def test_its_state_is_made_of_plain_values(drawn: tuple[Schedule, int, float]) -> None:
    def kinds(value: object) -> set[type]:
        return set().union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    state = drawn[0](optimizer_with(0.1, 0.2)).state_dict()
    assert set().union(*(kinds(value) for value in state.values())) <= {int, float, bool}
    assert through_a_file(state) == state


# --- arguments ---

linear = partial(LinearWarmup, warmup_steps=4)
exponential = partial(ExponentialWarmup, warmup_steps=4)
cosine = partial(CosineWithWarmup, warmup_steps=4, total_steps=9)


@pytest.mark.parametrize(
    ("schedule", "name", "value", "accepted", "error"),
    [
        (linear, "warmup_steps", -1, "an integer >= 0", MisconfigurationException),
        (linear, "warmup_steps", True, "an integer >= 0", TypeError),
        (linear, "warmup_steps", 4.0, "an integer >= 0", TypeError),
        (linear, "warmup_steps", "4", "an integer >= 0", TypeError),
        (linear, "last_epoch", -2, "an integer >= -1", MisconfigurationException),
        (linear, "start_factor", -0.1, "a finite number from 0 to 1, or None", MisconfigurationException),
        (linear, "start_factor", 1.1, "a finite number from 0 to 1, or None", MisconfigurationException),
        (linear, "start_factor", math.nan, "a finite number from 0 to 1, or None", MisconfigurationException),
        (linear, "start_factor", True, "a finite number from 0 to 1, or None", TypeError),
        (linear, "start_factor", "0.1", "a finite number from 0 to 1, or None", TypeError),
        (exponential, "warmup_steps", None, "an integer >= 0", TypeError),
        (exponential, "start_factor", 0, "a finite number above 0, up to 1, or None", MisconfigurationException),
        (exponential, "start_factor", -0.1, "a finite number above 0, up to 1, or None", MisconfigurationException),
        (exponential, "start_factor", 2, "a finite number above 0, up to 1, or None", MisconfigurationException),
        (cosine, "warmup_steps", 10, "an integer from 0 to 8, below `total_steps` (9)", MisconfigurationException),
        (cosine, "warmup_steps", 9, "an integer from 0 to 8, below `total_steps` (9)", MisconfigurationException),
        (cosine, "warmup_steps", False, "an integer >= 0", TypeError),
        (cosine, "total_steps", 0, "an integer >= 1", MisconfigurationException),
        (cosine, "total_steps", math.inf, "an integer >= 1", TypeError),
        (cosine, "total_steps", True, "an integer >= 1", TypeError),
        (cosine, "start_factor", 1.1, "a finite number from 0 to 1, or None", MisconfigurationException),
        (cosine, "end_factor", 1.5, "a finite number from 0 to 1", MisconfigurationException),
        (cosine, "end_factor", -1, "a finite number from 0 to 1", MisconfigurationException),
        (cosine, "end_factor", None, "a finite number from 0 to 1", TypeError),
        (cosine, "end_factor", False, "a finite number from 0 to 1", TypeError),
    ],
)
def test_a_refusal_names_the_argument_what_came_and_what_is_accepted(
    schedule: Callable[..., Any], name: str, value: object, accepted: str, error: type[Exception]
) -> None:
    expected = rf"^`{name}` must be {re.escape(accepted)}.*, but got {re.escape(repr(value))}"
    optimizer = optimizer_with(0.1)
    with pytest.raises(error, match=expected):
        schedule(optimizer, **{name: value})
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_something_else_than_an_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match="is not an Optimizer"):
        LinearWarmup(nn.Linear(1, 1), 4)  # type: ignore[arg-type]  # what's refused


# --- in Fabric ---


def test_fabric_sets_up_and_saves_a_warmed_up_optimizer(tmp_path: Any) -> None:
    def begun() -> tuple[Fabric, dict[str, Any]]:
        fabric = Fabric(accelerator="cpu")
        module = nn.Linear(2, 1)
        optimizer = SGD(module.parameters(), lr=1.0)
        scheduler = lt_fabric.LinearWarmup(optimizer, warmup_steps=3)
        model, optimizer = fabric.setup(module, optimizer)
        return fabric, {"model": model, "optimizer": optimizer, "scheduler": scheduler}

    def go(fabric: Fabric, state: dict[str, Any], num_steps: int) -> list[float]:
        rates = []
        for _ in range(num_steps):
            fabric.backward(state["model"](torch.ones(1, 2)).square().mean())
            rates += [group["lr"] for group in state["optimizer"].param_groups]
            state["optimizer"].step()
            state["optimizer"].zero_grad()
            state["scheduler"].step()
        return rates

    fabric, state = begun()
    assert go(fabric, state, 2) == [0.25, 0.5]
    fabric.save(tmp_path / "state.ckpt", state)
    fabric, state = begun()
    fabric.load(tmp_path / "state.ckpt", state)
    assert go(fabric, state, 3) == [0.75, 1.0, 1.0]
