"""The logged values and metric objects of several ranks, for a job with more or fewer of them.

Rank 0 takes what all ranks had together, the others what changes nothing: so means over all ranks stay what they were.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lt_core.logging.metric_objects import MetricState, begin_lists_like, list_states, load_metric_states
from lt_core.logging.slots import NEUTRAL

State = Mapping[str, Any]

_EXTREMES: Final = {"dim_zero_min": torch.minimum, "dim_zero_max": torch.maximum}
"""torchmetrics' names of reductions that need to know nothing else."""


def merged_results(saved: Sequence[State], *, rank: int) -> State:
    """Return the logged values that a rank goes on with.

    Args:
        saved: what `Results.state_dict` returned, by rank of the job that saved.
        rank: of this job.
    """
    by_key: dict[tuple[Any, ...], list[State]] = {}
    for state in saved:
        for entry in state["slots"]:
            by_key.setdefault(tuple(entry["key"]), []).append(entry)
    return {"slots": [_entry(entries, rank) for entries in by_key.values()]}


def load_merged_metrics(
    metrics: Mapping[str, Any], saved: Sequence[Mapping[str, MetricState]], *, rank: int
) -> tuple[list[str], list[str]]:
    """Let each metric object hold what a rank goes on with.

    Returns:
        The paths of the states that nothing takes, and those of the metrics that can't be merged: of these each rank
        goes on with its own state.
    """
    together: dict[str, list[MetricState]] = {}
    for states in saved:
        for path, state in states.items():
            together.setdefault(path, []).append(state)
    left = load_metric_states(metrics, {path: held[0] for path, held in together.items()})
    split = []
    for path, held in together.items():
        metric = metrics.get(path)
        if metric is None or path in left:
            continue
        if not _merge(metric, held[1:]):
            split.append(path)
            own = saved[rank].get(path) if rank < len(saved) else None
            load_metric_states({path: metric}, {} if own is None else {path: own})
        elif rank > 0:
            _empty(metric)
    return left, split


def _entry(entries: Sequence[State], rank: int) -> State:
    first = entries[0]
    rule = first["rule"]
    if "metric" in first:
        return {**first, "state": {name: any(one["state"][name] for one in entries) for name in first["state"]}}
    if rule is not None and rule["rank_zero_only"]:
        return first
    reduction = "mean" if rule is None else rule["reduction"]
    whole = _value([one["state"] for one in entries], reduction)
    return {**first, "state": whole if rank == 0 else _nothing(whole, reduction)}


def _value(states: Sequence[State], reduction: str) -> State:
    logged = [state for state in states if state["total"] is not None]
    fresh = [state for state in states if state["fresh"]] or states[:1]
    weight = sum(state["latest_weight"] for state in fresh)
    latest = _joined([_weighed(state, reduction) for state in fresh], reduction)
    return {
        "total": _joined([state["total"] for state in logged], reduction) if logged else None,
        "weight": sum(state["weight"] for state in logged),
        "latest": latest / weight if reduction == "mean" and weight else latest,
        "latest_weight": weight,
        "fresh": any(state["fresh"] for state in states),
    }


def _weighed(state: State, reduction: str) -> Any:
    return state["latest"] * state["latest_weight"] if reduction == "mean" else state["latest"]


def _joined(values: Sequence[Any], reduction: str) -> Any:
    """Return the sum of sums, which stand for means, too, or the extreme of extremes."""
    if reduction in ("mean", "sum"):
        return sum(values[1:], values[0])
    extreme = torch.minimum if reduction == "min" else torch.maximum
    return reduce(extreme, (torch.as_tensor(value) for value in values))


def _nothing(whole: State, reduction: str) -> State:
    neutral = NEUTRAL[reduction]  # type: ignore[index]  # one of its keys: it was written from a rule
    total = None if whole["total"] is None else neutral
    return {"total": total, "weight": 0, "latest": neutral, "latest_weight": 0, "fresh": whole["fresh"]}


def _merge(metric: Any, states: Sequence[MetricState]) -> bool:
    """Let a metric take in what it held on other ranks; returns whether it can."""
    reductions = _reductions(metric)
    # What's averaged over ranks depends on how many of them hold something.
    if "dim_zero_mean" in reductions.values() or not callable(getattr(metric, "merge_state", None)):
        return False
    for state in states:
        there = apply_to_collection(state["accumulators"], Tensor, lambda tensor: tensor.to(metric.device))
        try:
            _take_in(metric, there, reductions)
        except (RuntimeError, TypeError, ValueError):  # torchmetrics' words for a metric that takes more than this
            return False
        metric._update_count += state["update_count"]
    metric._computed = None
    return bool(states) or _can_merge(metric, reductions)


def _take_in(metric: Any, there: State, reductions: Mapping[str, str]) -> None:
    if not _holds_extremes(reductions):
        metric.merge_state(there)
        return
    # torchmetrics' `MinMetric` and `MaxMetric` refuse to be merged, though nothing is easier.
    for name, reduction in reductions.items():
        setattr(metric, name, _EXTREMES[reduction](getattr(metric, name), there[name]))


def _can_merge(metric: Any, reductions: Mapping[str, str]) -> bool:
    return _holds_extremes(reductions) or getattr(metric, "full_state_update", None) is False


def _holds_extremes(reductions: Mapping[str, str]) -> bool:
    return bool(reductions) and set(reductions.values()) <= set(_EXTREMES)


def _reductions(metric: Any) -> dict[str, str]:
    """Return how torchmetrics reduces each accumulator over ranks."""
    functions = getattr(metric, "_reductions", {})
    return {name: getattr(function, "__name__", "") for name, function in functions.items()}


def _empty(metric: Any) -> None:
    """Let a metric hold nothing, but take part when ranks compute it together."""
    lists = list_states(metric)
    metric.reset()
    begin_lists_like(metric, lists)
    metric._update_count = 1
