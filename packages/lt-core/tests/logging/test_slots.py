import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lt_core.logging.rules import slot_rule
from lt_core.logging.slots import SILENT, LogOptions, MetricSlot, Reduction, ValueSlot, settled

Options = Callable[..., LogOptions]
Logged = list[tuple[Any, int]]

NUMBERS = st.integers(-1000, 1000) | st.floats(-1000, 1000)
TENSORS = st.builds(torch.tensor, st.floats(-1000, 1000), dtype=st.sampled_from([torch.float32, torch.float64]))
LOGGED = st.lists(st.tuples(NUMBERS | TENSORS, st.integers(1, 64)), min_size=1, max_size=12)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def slot_for(options: LogOptions, hook: str = "training_step") -> ValueSlot:
    return ValueSlot(slot_rule(hook, "x", options=options, dataloader_idx=None), options)


def in_python(reduction: Reduction, logged: Logged) -> float:
    values = [float(value) for value, _ in logged]
    if reduction == "mean":
        return math.fsum(value * size for value, (_, size) in zip(values, logged, strict=True)) / sum(
            size for _, size in logged
        )
    return {"sum": math.fsum, "min": min, "max": max}[reduction](values)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(logged=LOGGED)
def test_epoch_values_are_what_plain_python_gives(reduction: Reduction, logged: Logged, options: Options) -> None:
    slot = slot_for(options(on_epoch=True, reduce_fx=reduction))
    for value, size in logged:
        slot.update(value, size)
    found, weight = slot.epoch_value()
    largest = max(abs(float(value)) for value, _ in logged)
    assert float(found) == pytest.approx(in_python(reduction, logged), rel=1e-4, abs=1e-4 * max(largest, 1e-30))
    assert weight == sum(size for _, size in logged)


@given(logged=LOGGED)
def test_step_values_are_the_latest_with_the_size_of_their_batch(logged: Logged, options: Options) -> None:
    slot = slot_for(options(on_step=True, on_epoch=True))
    for value, size in logged:
        slot.update(value, size)
    value, weight = slot.step_value()
    assert float(value) == float(logged[-1][0])
    assert weight == logged[-1][1]


@given(logged=LOGGED, cut=st.integers(0, 12))
def test_a_resumed_slot_goes_on_where_it_stood(logged: Logged, cut: int, options: Options) -> None:
    whole, first, second = (slot_for(options(on_step=True, on_epoch=True)) for _ in range(3))
    for idx, (value, size) in enumerate(logged):
        whole.update(value, size)
        (first if idx < cut else second).update(value, size)
        if idx + 1 == cut:
            second.load_state_dict(first.state_dict())
    if cut <= len(logged):
        assert float(second.epoch_value()[0]) == float(whole.epoch_value()[0])
        assert second.epoch_value()[1] == whole.epoch_value()[1]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("values", [[1.0, math.nan, 2.0], [math.nan, 1.0], [1.0, math.nan]])
@pytest.mark.parametrize("convert", [float, torch.tensor])
def test_a_nan_is_never_hidden(
    reduction: Reduction, values: list[float], convert: Callable[[float], Any], options: Options
) -> None:
    slot = slot_for(options(on_epoch=True, reduce_fx=reduction))
    for value in values:
        slot.update(convert(value), 1)
    assert math.isnan(float(slot.epoch_value()[0]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_users_may_change_their_tensor_after_logging_it(reduction: Reduction, options: Options) -> None:
    slot = slot_for(options(on_step=True, on_epoch=True, reduce_fx=reduction))
    value = torch.tensor(3.0)
    slot.update(value, 1)
    value.fill_(100.0)
    assert float(slot.step_value()[0]) == 3.0
    assert float(slot.epoch_value()[0]) == 3.0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_accumulating_leaves_the_users_tensor_alone(reduction: Reduction, options: Options) -> None:
    slot = slot_for(options(on_epoch=True, reduce_fx=reduction))
    value = torch.tensor(3.0)
    slot.update(value, 2)
    slot.update(4.0, 2)
    slot.update(torch.tensor(5.0), 2)
    assert value.item() == 3.0


def test_values_may_come_from_inference_mode_and_outside_of_it(options: Options) -> None:
    slot = slot_for(options(on_epoch=True))
    with torch.inference_mode():
        slot.update(torch.tensor(1.0), 1)
    slot.update(torch.tensor(2.0), 1)
    with torch.inference_mode():
        slot.update(torch.tensor(6.0), 1)
    assert float(slot.epoch_value()[0]) == 3.0


def test_the_graph_is_kept_when_asked_for(options: Options) -> None:
    weight = torch.ones((), requires_grad=True)
    slot = slot_for(options(on_epoch=True, enable_graph=True))
    for factor in (1.0, 3.0):
        slot.update(weight * factor, 1)
    mean = slot.epoch_value()[0]
    assert isinstance(mean, Tensor)
    mean.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert weight.grad is not None
    assert weight.grad.item() == 2.0


def test_long_sums_of_integers_are_exact(options: Options) -> None:
    slot = slot_for(options(on_epoch=True, reduce_fx="sum"))
    for _ in range(3):
        slot.update(torch.tensor(2**24 + 1), 1)
    assert float(slot.epoch_value()[0]) == 3 * (2**24 + 1)


def test_reset_forgets_the_epoch(options: Options) -> None:
    slot = slot_for(options(on_step=True, on_epoch=True))
    assert slot.is_empty
    slot.update(5.0, 2)
    assert (slot.is_empty, slot.fresh) == (False, True)
    slot.reset()
    assert (slot.is_empty, slot.fresh) == (True, False)
    slot.update(1.0, 7)
    assert slot.epoch_value() == (1.0, 7.0)


class Mean:
    """A metric object of somebody else's."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.num_resets = 0

    def update(self, value: float) -> None:
        self.values.append(value)

    def compute(self) -> Tensor:
        return torch.tensor(self.values).mean()

    def reset(self) -> None:
        self.values.clear()
        self.num_resets += 1


def metric_slot(options: Options, metric: Any) -> MetricSlot:
    given = options(on_step=True, on_epoch=True)
    return MetricSlot(slot_rule("training_step", "x", options=given, dataloader_idx=None), given, metric)


def test_metric_objects_compute_their_own_epoch(options: Options) -> None:
    metric = Mean()
    slot = metric_slot(options, metric)
    for value in (1.0, 5.0):
        metric.update(value)
        slot.update(metric, 1)
    assert float(settled(slot.epoch_value()[0])) == 3.0
    slot.reset()
    assert (metric.values, metric.num_resets) == ([], 1)


def test_metric_objects_that_were_not_logged_are_not_reset(options: Options) -> None:
    metric = Mean()
    slot = metric_slot(options, metric)
    slot.reset()
    assert slot.is_empty
    assert metric.num_resets == 0


def test_step_value_of_a_torchmetrics_metric_is_that_of_its_last_forward(options: Options) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = torchmetrics.MeanMetric()
    slot = metric_slot(options, metric)
    for value in (1.0, 5.0):
        metric(value)
        slot.update(metric, 1)
    assert float(settled(slot.step_value()[0])) == 5.0
    assert float(settled(slot.epoch_value()[0])) == 3.0


def test_a_metric_object_is_computed_only_when_its_value_is_settled(options: Options) -> None:
    metric = Mean()
    slot = metric_slot(options, metric)
    slot.update(metric, 1)
    value, weight = slot.epoch_value()
    metric.update(7.0)
    assert (float(settled(value)), weight) == (7.0, 1.0)


def test_a_metric_object_takes_part_without_a_say_where_it_was_not_logged(options: Options) -> None:
    metric = Mean()
    slot = metric_slot(options, metric)
    value, weight = slot.epoch_value()
    assert (settled(value), weight) == (0.0, SILENT)
    slot.reset()
    assert metric.num_resets == 1


def test_a_metric_object_without_values_may_fail_where_it_was_not_logged(options: Options) -> None:
    class Failing(Mean):
        def compute(self) -> Tensor:
            raise ZeroDivisionError

    assert settled(metric_slot(options, Failing()).epoch_value()[0]) == 0.0


def test_a_slot_without_values_has_no_say(options: Options) -> None:
    slot = slot_for(options(on_epoch=True))
    slot.update(math.nan, 1)
    slot.reset()
    assert slot.epoch_value() == (0.0, SILENT)
