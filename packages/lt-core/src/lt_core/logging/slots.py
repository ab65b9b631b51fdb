"""Slots: where the values of one logged name accumulate between flushes, on their device."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf, nan
from typing import Any, Final, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from lt_core.logging.values import Number, scalar

Reduction = Literal["mean", "sum", "min", "max"]

SILENT: Final = -1.0
"""The weight of a rank to which nothing was logged: it takes part, and its value doesn't count."""

Value = Tensor | Number | Callable[[], Tensor | Number]
"""A value, or what computes it: metric objects do that together on all ranks, so it mustn't happen on one alone."""

NEUTRAL: Final[Mapping[Reduction, float]] = {"mean": 0.0, "sum": 0.0, "min": inf, "max": -inf}
"""What changes no reduction over ranks."""


class LogOptions(NamedTuple):
    """The arguments of one `self.log` call except name, value and batch size; compared to find misuse."""

    prog_bar: bool
    logger: bool | None
    on_step: bool | None
    on_epoch: bool | None
    reduce_fx: Any
    enable_graph: bool
    sync_dist: bool
    sync_dist_group: Any
    add_dataloader_idx: bool
    metric_attribute: str | None
    rank_zero_only: bool


@dataclass(frozen=True)
class SlotNames:
    """The names under which one slot's values appear."""

    plain: str
    step: str
    epoch: str


@dataclass(frozen=True)
class SlotRule:
    """How a slot's values are used; resolved once, at the first call."""

    names: SlotNames
    on_step: bool
    on_epoch: bool
    reduction: Reduction
    prog_bar: bool
    logger: bool
    rank_zero_only: bool


class Slot(Protocol):
    """What the flush needs of a slot."""

    @property
    def rule(self) -> SlotRule:
        """How its values are used."""

    options: LogOptions | None
    """The arguments of its first call; ``None`` when it came from a checkpoint and wasn't logged since."""

    fresh: bool
    """Whether it was updated since the last step flush."""
    loaders: set[int]
    """Which of several loaders it was logged for."""

    def update(self, value: Any, batch_size: int) -> None:
        """Take one logged value."""

    def pass_over(self) -> None:
        """Take part in the next flush without a value: other ranks log this name for a batch that this one lacks."""

    def step_value(self) -> tuple[Value, float]:
        """Return the latest value and its weight."""

    def epoch_value(self) -> tuple[Value, float]:
        """Return the epoch's value so far and its weight; `SILENT` where nothing was logged."""

    def reset(self) -> None:
        """Forget the epoch."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was logged since the last `reset`."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with the epoch."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""


class ValueSlot:
    """Accumulates numbers and tensors; a mean is weighted by batch size."""

    __slots__ = (
        *("_enable_graph", "_latest", "_latest_weight", "_name", "_reduction", "_total", "_weight"),
        *("fresh", "loaders", "options", "rule"),
    )

    def __init__(self, rule: SlotRule, options: LogOptions | None) -> None:
        self.rule: Final = rule
        self.options = options
        self.fresh = False
        self.loaders: set[int] = set()
        self._name = rule.names.plain
        self._latest_weight = 1
        self._reduction = rule.reduction
        self._enable_graph = options is not None and options.enable_graph
        self._latest: Tensor | Number = 0.0
        self._total: Tensor | Number | None = None
        self._weight = 0

    def update(self, value: Any, batch_size: int) -> None:
        """Take one logged value; no host sync."""
        number = scalar(self._name, value, enable_graph=self._enable_graph)
        self.fresh = True
        self._latest_weight = batch_size
        if self.rule.on_epoch:
            self._accumulate(number, batch_size)
        if self.rule.on_step:
            # A copy: the caller may go on to change the tensor in place before the flush reads it.
            self._latest = number.clone() if isinstance(number, Tensor) else number

    def pass_over(self) -> None:
        """Take part in the next flush with what changes no reduction."""
        self.fresh = True
        self._latest_weight = 0
        self._latest = NEUTRAL[self._reduction]

    def _accumulate(self, number: Tensor | Number, batch_size: int) -> None:
        if self._total is None:
            self._total = number * batch_size if self._reduction == "mean" else _copy(number)
        elif self._reduction == "mean":
            self._total = _plus(self._total, number, factor=batch_size, in_place=not self._enable_graph)
        elif self._reduction == "sum":
            self._total = _plus(self._total, number, factor=1, in_place=not self._enable_graph)
        else:
            self._total = _extreme(self._reduction, self._total, number)
        self._weight += batch_size

    def step_value(self) -> tuple[Tensor | Number, float]:
        """Return the latest value and the size of its batch."""
        return self._latest, float(self._latest_weight)

    def epoch_value(self) -> tuple[Tensor | Number, float]:
        """Return the epoch's value so far and its weight in batch sizes."""
        if self._total is None:
            return 0.0, SILENT
        value = self._total / (self._weight or 1) if self._reduction == "mean" else self._total
        return value, float(self._weight)

    def reset(self) -> None:
        """Forget the epoch."""
        self._total = None
        self._weight = 0
        self.fresh = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was logged for the epoch since the last `reset`."""
        return self._total is None

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's sum and weight and the latest value."""
        return {
            "total": self._total,
            "weight": self._weight,
            "latest": self._latest,
            "latest_weight": self._latest_weight,
            "fresh": self.fresh,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._total = state["total"]
        self._weight = state["weight"]
        self._latest = state["latest"]
        self._latest_weight = state["latest_weight"]
        self.fresh = state["fresh"]


class MetricSlot:
    """Refers to a metric object, which accumulates by itself."""

    __slots__ = ("_took_part", "_touched", "fresh", "loaders", "metric", "options", "rule")

    def __init__(self, rule: SlotRule, options: LogOptions | None, metric: Any) -> None:
        self.rule: Final = rule
        self.options = options
        self.metric = metric
        self.fresh = False
        self.loaders: set[int] = set()
        self._touched = False
        self._took_part = False

    def update(self, value: Any, batch_size: int) -> None:
        """Note that the metric was logged; its own ``forward`` has updated it."""
        self.metric = value
        self.fresh = True
        self._touched = True

    def pass_over(self) -> None:
        """Take part in the next flush with what the metric holds."""
        self.fresh = self._touched = True

    def step_value(self) -> tuple[Value, float]:
        """Return what the metric's last ``forward`` gave, or what computes it now."""
        cached = getattr(self.metric, "_forward_cache", None)
        return (self._compute if cached is None else self._scalar(cached)), 1.0

    def epoch_value(self) -> tuple[Value, float]:
        """Return what computes the metric; it synchronises ranks by itself."""
        return (self._take_part, SILENT) if self.is_empty else (self._compute, 1.0)

    def _compute(self) -> Tensor | Number:
        return self._scalar(self.metric.compute())

    def _take_part(self) -> Tensor | Number:
        """Compute because other ranks do, who need this one for it, though nothing was logged here."""
        self._took_part = True
        with warnings.catch_warnings(), suppress(Exception):  # e.g. that there's nothing to compute
            warnings.simplefilter("ignore")
            self.metric.compute()
        return 0.0

    def _scalar(self, value: Any) -> Tensor | Number:
        return scalar(self.rule.names.plain, value, enable_graph=False)

    def reset(self) -> None:
        """Reset the metric, if it was logged or computed."""
        if self._touched or self._took_part:
            self.metric.reset()
        self._touched = self._took_part = False
        self.fresh = False

    @property
    def is_empty(self) -> bool:
        """Whether the metric wasn't logged since the last `reset`."""
        return not self._touched

    def state_dict(self) -> dict[str, Any]:
        """Return whether the metric was logged; what it holds is saved with all metrics of the module."""
        return {"touched": self._touched, "fresh": self.fresh}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._touched = state["touched"]
        self.fresh = state["fresh"]


def settled(value: Value) -> Tensor | Number:
    """Return a value, computed now if it has to be."""
    return value() if callable(value) else value


def _copy(number: Tensor | Number) -> Tensor | Number:
    return number.clone() if isinstance(number, Tensor) else number


def _plus(total: Tensor | Number, number: Tensor | Number, *, factor: int, in_place: bool) -> Tensor | Number:
    """Return the sum; in place where the total is a tensor of our own."""
    if not in_place or not isinstance(total, Tensor) or not isinstance(number, Tensor):
        return total + number * factor
    # A total made in inference mode can't be changed in place outside of it, and the other way round.
    if total.is_inference() != number.is_inference():
        return total + number * factor
    return total.add_(number, alpha=factor)


def _extreme(reduction: Reduction, total: Tensor | Number, number: Tensor | Number) -> Tensor | Number:
    if isinstance(total, Tensor) or isinstance(number, Tensor):
        pair = torch.as_tensor(total), torch.as_tensor(number)
        return torch.minimum(*pair) if reduction == "min" else torch.maximum(*pair)
    if total != total or number != number:  # NaN is the only number that differs from itself
        return nan
    return min(total, number) if reduction == "min" else max(total, number)
