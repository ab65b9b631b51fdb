import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.stopping_rule import EarlyStoppingReason, StoppingRule, Watched
from lt_callbacks.top_k import worst


def judged(rule: StoppingRule, *values: float) -> Watched:
    watched = Watched(worst(rule.mode))
    for value in values:
        watched = rule.judge(torch.tensor(value), watched)
    return watched


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(1, 5))
def test_it_stops_after_that_many_checks_in_a_row_without_a_new_minimum(values: list[float], patience: int) -> None:
    rule = StoppingRule("loss", patience=patience)
    watched, best, waited = Watched(worst("min")), math.inf, 0
    for value in torch.tensor(values):
        watched = rule.judge(value, watched)
        waited = 0 if value < best else waited + 1
        best = min(best, float(value))
        assert (watched.reason is EarlyStoppingReason.PATIENCE_EXHAUSTED) == (waited >= patience)
        if watched.reason:
            break


@given(st.lists(st.floats(-100, 100), max_size=20), st.floats(0, 10))
def test_max_mirrors_min(values: list[float], min_delta: float) -> None:
    low = StoppingRule("m", "min", min_delta)
    high = StoppingRule("m", "max", min_delta)
    assert judged(low, *values).reason is judged(high, *(-value for value in values)).reason


def test_an_improvement_smaller_than_min_delta_is_none() -> None:
    rule = StoppingRule("loss", min_delta=0.1, patience=1)
    assert judged(rule, 1.0, 0.95).reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
    assert judged(rule, 1.0, 0.85).reason is EarlyStoppingReason.NOT_STOPPED


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_stops_first_of_all(value: float) -> None:
    rule = StoppingRule("loss", stopping_threshold=0.0, divergence_threshold=1.0)
    assert judged(rule, value).reason is EarlyStoppingReason.NON_FINITE_METRIC
    assert judged(replace(rule, check_finite=False), math.nan).reason is EarlyStoppingReason.NOT_STOPPED


@pytest.mark.parametrize(("mode", "good", "bad"), [("min", -1.0, 11.0), ("max", 11.0, -1.0)])
def test_thresholds_stop_on_both_sides(mode: str, good: float, bad: float) -> None:
    limits = (0.0, 10.0) if mode == "min" else (10.0, 0.0)
    rule = StoppingRule("m", mode, stopping_threshold=limits[0], divergence_threshold=limits[1])
    assert judged(rule, good).reason is EarlyStoppingReason.STOPPING_THRESHOLD
    assert judged(rule, bad).reason is EarlyStoppingReason.DIVERGENCE_THRESHOLD
    assert judged(rule, *limits).reason is EarlyStoppingReason.NOT_STOPPED
