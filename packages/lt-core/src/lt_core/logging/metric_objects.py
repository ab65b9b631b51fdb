"""Metric objects of a module: where they are, and what they hold in the middle of an epoch."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any, Final

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lt_core.logging.values import is_metric

MetricState = Mapping[str, Any]
"""What one metric holds: of one that counts its updates the accumulators, of any other its ``state_dict``."""

# Metrics and their states are `Any` throughout: a metric is whatever has the methods, and holds what it likes.
_COUNT: Final = "update_count"
_ACCUMULATORS: Final = "accumulators"
_LATEST: Final = "latest"
_STATE_DICT: Final = "state_dict"


def metrics_of(module: nn.Module) -> dict[str, Any]:
    """Return the metric objects that a module reaches, by path: submodules, its attributes, and lists and dicts there.

    >>> class Largest:
    ...     update = compute = reset = lambda self: None
    >>> module = nn.Linear(1, 1)
    >>> module.by_size = {"small": Largest(), "large": Largest()}
    >>> list(metrics_of(module))
    ['by_size.small', 'by_size.large']
    """
    found: dict[str, Any] = {}
    known = {id(module)}
    for path, value in chain(module.named_modules(), _attributes(module)):
        if id(value) not in known and not isinstance(value, type) and is_metric(value):
            known.add(id(value))
            found[path] = value
    return found


def metric_states(metrics: Mapping[str, Any]) -> dict[str, MetricState]:
    """Return what each metric holds, by path; those that hold nothing, or can't tell, are left out.

    Tensors aren't copied.
    """
    states = {path: _metric_state(metric) for path, metric in metrics.items()}
    return {path: state for path, state in states.items() if state is not None}


def load_metric_states(metrics: Mapping[str, Any], states: Mapping[str, MetricState]) -> list[str]:
    """Let each metric hold what it held when the states were taken; returns the paths of states that nothing takes.

    A metric that counts its updates, and has no state there, begins anew: it had no updates. Tensors aren't copied, so
    states are for one use.
    """
    taken = {path for path, state in states.items() if path in metrics and _fits(metrics[path], state)}
    for path, metric in metrics.items():
        if path not in taken and _counts_updates(metric):
            metric.reset()
    for path in taken:  # after the others: a metric may be a part of one that begins anew, and reset with it
        _load_metric_state(metrics[path], states[path])
    return sorted(set(states) - taken)


def keeps_state(metric: Any) -> bool:
    """Say whether a metric can be saved in the middle of an epoch."""
    return _counts_updates(metric) or _has_state_dict(metric)


def kept_metric_states(module: nn.Module) -> dict[str, MetricState]:
    """Return copies of what a module's metrics hold, which later updates leave alone."""
    return {path: _copied(state) for path, state in metric_states(metrics_of(module)).items()}


def list_states(metric: Any) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return the format and the shape, but for the first dimension, of the lists of tensors that a metric holds."""
    if not _counts_updates(metric):
        return {}
    firsts = {name: value[0] for name, value in metric.metric_state.items() if isinstance(value, list) and value}
    return {name: (t.dtype, tuple(t.shape[1:])) for name, t in firsts.items() if isinstance(t, Tensor)}


def begin_lists_like(metric: Any, lists: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
    """Let a metric's empty lists hold a tensor without elements: gathering takes one of the same kind on every rank."""
    for name, (dtype, shape) in lists.items():
        value = getattr(metric, name, None)
        if isinstance(value, list) and not value:
            setattr(metric, name, [torch.empty((0, *shape), dtype=dtype, device=metric.device)])


@contextmanager
def isolated_metrics(module: nn.Module) -> Iterator[None]:
    """Leave a module's metrics as they were before."""
    before = kept_metric_states(module)
    try:
        yield
    finally:
        load_metric_states(metrics_of(module), before)


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        yield name, value
        yield from ((f"{name}.{key}", item) for key, item in _items(value))


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return what a list or dict holds if it begins with a metric; a look at the first keeps long lists cheap."""
    if isinstance(value, dict):
        items: Iterator[tuple[Any, Any]] = iter(value.items())
    else:
        items = enumerate(value if isinstance(value, list | tuple) else ())
    first = next(items, None)
    return chain((first,), items) if first is not None and is_metric(first[1]) else ()


def _metric_state(metric: Any) -> MetricState | None:
    accumulators = getattr(metric, "metric_state", None)  # first: a collection brings its members up to date by it
    if _counts_updates(metric):
        if metric.update_count == 0:
            return None
        # The latest value of a step is sent at the next flush, which may come after the checkpoint.
        latest = getattr(metric, "_forward_cache", None)
        return {_COUNT: metric.update_count, _ACCUMULATORS: _detached(accumulators), _LATEST: _detached(latest)}
    return {_STATE_DICT: _detached(metric.state_dict())} if _has_state_dict(metric) else None


def _load_metric_state(metric: Any, state: MetricState) -> None:
    if _STATE_DICT in state:
        metric.load_state_dict(state[_STATE_DICT])
        return
    for name, value in state[_ACCUMULATORS].items():
        on_cpu = isinstance(value, list) and getattr(metric, "compute_on_cpu", False)
        setattr(metric, name, _moved(value, torch.device("cpu") if on_cpu else metric.device))
    metric._update_count = state[_COUNT]
    metric._forward_cache = _moved(state[_LATEST], metric.device)
    metric._computed = None


def _fits(metric: Any, state: MetricState) -> bool:
    if _counts_updates(metric):
        return set(state.get(_ACCUMULATORS, ())) == set(metric.metric_state)
    return _STATE_DICT in state and _has_state_dict(metric)


def _counts_updates(metric: Any) -> bool:
    """Say whether it's one of torchmetrics' metrics, by shape; a collection of them isn't one: its members are."""
    return isinstance(getattr(metric, _COUNT, None), int) and hasattr(metric, "metric_state")


def _has_state_dict(metric: Any) -> bool:
    return all(callable(getattr(metric, name, None)) for name in (_STATE_DICT, "load_state_dict"))


def _copied(state: MetricState) -> MetricState:
    if _STATE_DICT in state:
        return deepcopy(dict(state))
    # Metrics add to their tensors in place, but to the end of their lists, whose items may be a whole epoch's outputs.
    accumulators = {
        name: value.clone() if isinstance(value, Tensor) else value for name, value in state[_ACCUMULATORS].items()
    }
    return {**state, _ACCUMULATORS: accumulators}


def _detached(value: Any) -> Any:
    return apply_to_collection(value, Tensor, Tensor.detach)


def _moved(value: Any, device: torch.device) -> Any:
    return apply_to_collection(value, Tensor, lambda tensor: tensor.to(device))
