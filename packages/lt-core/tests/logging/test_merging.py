"""Promises of what ranks have logged, taken up by more or fewer of them."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_ranks import Job
from torch import nn
from torchmetrics import CatMetric, MaxMetric, MeanMetric, Metric, SumMetric

from lt_core.logging.merging import load_merged_metrics, merged_results
from lt_core.logging.metric_objects import metric_states, metrics_of
from lt_core.logging.publication import MetricBoard, flush_epoch, flush_steps
from lt_core.logging.recorder import Recorder, Results
from lt_core.logging.slots import LogOptions

Logged = list[tuple[float, int]]
"""The values of one rank and their batch sizes."""
REDUCTIONS = ("mean", "sum", "min", "max")


def options(reduction: str) -> LogOptions:
    return LogOptions(False, True, True, True, reduction, False, False, None, True, None, False)


def log(results: Results, values: Logged) -> None:
    """Log under one name per reduction."""
    recorder = Recorder()
    recorder.hook, recorder.results = "training_step", results
    for value, size in values:
        for reduction in REDUCTIONS:
            recorder.log(nn.Module(), reduction, value=value, batch_size=size, options=options(reduction))


def numbers_of(before: Sequence[Any] | None, values: list[Logged], *, epoch: bool = True) -> dict[str, float]:
    """Log on some ranks, going on from what others saved, and return the values over all ranks."""
    job = Job(len(values))

    def on_rank(rank: Any) -> dict[str, float]:
        results, board = Results(is_evaluation=False), MetricBoard()
        if before is not None:
            results.load_state_dict(merged_results(before, rank=rank.rank), {})
        log(results, values[rank.rank])
        if epoch:
            return {name: number for name, (_, number) in flush_epoch(results, board, rank).items()}
        return dict(flush_steps(results, board, loggers=[object()], ranks=rank))  # type: ignore[list-item]  # only counted

    return job.run(on_rank)[0]


def saved_after(values: list[Logged]) -> list[Any]:
    states = []
    for own in values:
        results = Results(is_evaluation=False)
        log(results, own)
        states.append(deepcopy(results.state_dict({})))
    return states


VALUES = st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(first=st.lists(VALUES, min_size=1, max_size=3), then=st.lists(VALUES, min_size=1, max_size=3))
def test_epoch_values_are_those_of_all_that_was_logged_before_and_after(
    first: list[Logged], then: list[Logged]
) -> None:
    found = numbers_of(saved_after(first), then)
    everything = [one for rank in (*first, *then) for one in rank]
    values = [value for value, _ in everything]
    mean = sum(value * size for value, size in everything) / sum(size for _, size in everything)
    expected = {"mean": mean, "sum": sum(values), "min": min(values), "max": max(values)}
    assert {name.removesuffix("_epoch"): value for name, value in found.items()} == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_step_values_that_were_not_sent_yet_are_sent_as_they_were(ranks: int) -> None:
    first: list[Logged] = [[(1.0, 2)], [(4.0, 4)]]
    expected = numbers_of(None, first, epoch=False)
    assert numbers_of(saved_after(first), [[] for _ in range(ranks)], epoch=False) == pytest.approx(expected)


def test_an_epoch_that_only_has_to_be_closed_keeps_its_values() -> None:
    first: list[Logged] = [[(1.0, 2), (2.0, 2)], [(4.0, 4)]]
    expected = numbers_of(None, first)
    for ranks in (1, 2, 3):
        assert numbers_of(saved_after(first), [[] for _ in range(ranks)]) == pytest.approx(expected)


# --- metric objects ---


class Last(Metric):
    """Can't be merged: what it holds depends on the order of its updates."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: float) -> None:
        self.value = self.value * 2 + value

    def compute(self) -> torch.Tensor:
        return torch.as_tensor(self.value)


class Holder(nn.Module):
    def __init__(self, make: Callable[[], Metric]) -> None:
        super().__init__()
        self.metric = make()


def states_after(make: Callable[[], Metric], values: list[list[float]]) -> list[Any]:
    states = []
    for own in values:
        holder = Holder(make)
        for value in own:
            holder.metric.update(value)
        states.append(deepcopy(metric_states(metrics_of(holder))))
    return states


@pytest.mark.parametrize("make", [MeanMetric, SumMetric, MaxMetric, CatMetric])
def test_metric_objects_hold_on_rank_0_what_all_held_and_nothing_elsewhere(make: Callable[[], Metric]) -> None:
    values = [[1.0, 5.0], [3.0], [2.0]]
    together = make()
    for value in (value for own in values for value in own):
        together.update(value)
    first, other = Holder(make), Holder(make)
    for rank, holder in enumerate((first, other)):
        assert load_merged_metrics(metrics_of(holder), states_after(make, values), rank=rank) == ([], [])
    assert first.metric.compute().sum() == together.compute().sum()
    other.metric.update(4.0)
    alone = make()
    alone.update(4.0)
    assert other.metric.compute().sum() == alone.compute().sum()
    if make is CatMetric:
        assert isinstance(other.metric.metric_state["value"], list)


def test_metric_objects_that_cannot_be_merged_are_named_and_stay_with_their_rank() -> None:
    values = [[1.0], [2.0], [3.0]]
    held = []
    for rank in range(4):
        holder = Holder(Last)
        assert load_merged_metrics(metrics_of(holder), states_after(Last, values), rank=rank) == ([], ["metric"])
        held.append(float(holder.metric.metric_state["value"]))
    assert held == [1.0, 2.0, 3.0, 0.0]


def test_states_that_nothing_takes_are_returned() -> None:
    states = states_after(SumMetric, [[1.0], [2.0]])
    assert load_merged_metrics({}, states, rank=0) == (["metric"], [])
