"""The recorder: takes what `self.log` is given and knows which hook runs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from lt_core.logging.rules import slot_rule
from lt_core.logging.slots import LogOptions, MetricSlot, Slot, SlotNames, SlotRule, ValueSlot
from lt_core.logging.values import is_metric
from lt_fabric.data import extract_batch_size
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import WarningCache, rank_zero_warn

_warned = WarningCache()

SlotKey = tuple[str, str, int | None]


class Results:
    """The slots of one stage, by hook, name and loader.

    Args:
        is_evaluation: whether they're of validate or test.
        module: the user's, whose metric objects may be logged.
    """

    def __init__(self, *, is_evaluation: bool, module: nn.Module | None = None) -> None:
        self.module = module
        self.is_evaluation = is_evaluation
        """Whether they're of validate or test: there, step values go to the loggers only."""
        self.logs_steps = False
        """Whether any slot is logged per step."""
        self.slots: dict[SlotKey, Slot] = {}
        self.epoch_ended = False
        """Whether all batches of the epoch are done, so that its values are final but for what hooks add."""
        self.seen: set[int] = set()
        """Loaders of which this rank had a batch in the epoch, of those that are evaluated."""
        self._pending: dict[SlotKey, Mapping[str, Any]] = {}
        """State of metric objects, which only the first call after a resume names."""

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots.values())

    def add(self, key: SlotKey, slot: Slot) -> None:
        """Keep a new slot; one that a checkpoint knows goes on where it stood."""
        self.slots[key] = slot
        self.logs_steps = self.logs_steps or slot.rule.on_step
        if key in self._pending:
            slot.load_state_dict(self._pending.pop(key))

    def reset(self) -> None:
        """Forget the epoch's values; the slots stay."""
        self.epoch_ended = False
        self.seen.clear()
        self._pending.clear()
        for slot in self.slots.values():
            slot.reset()

    def state_dict(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return every slot that holds something: where it was logged, how it's used and what it holds.

        Args:
            metrics: the module's metric objects by path.
        """
        paths = {id(metric): path for path, metric in metrics.items()}
        slots = [(key, slot) for key, slot in self.slots.items() if not slot.is_empty or slot.fresh]
        return {"slots": [{"key": list(key), "state": slot.state_dict(), **origin(slot, paths)} for key, slot in slots]}

    def load_state_dict(self, state: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned; a metric object that isn't at its path gets its part when it's logged.

        Args:
            state: what `state_dict` returned.
            metrics: the module's metric objects by path.
        """
        for entry in state["slots"]:
            hook, name, dataloader_idx = entry["key"]
            key = (hook, name, dataloader_idx)
            self._pending[key] = entry["state"]
            slot = slot_of(entry, metrics)
            if slot is not None:
                self.add(key, slot)


def origin(slot: Slot, paths: Mapping[int, str]) -> dict[str, Any]:
    """Return what a slot is made of anew: its rule and, for a metric object, where that is."""
    if not isinstance(slot, MetricSlot):
        return {"rule": asdict(slot.rule)}
    return {"rule": asdict(slot.rule), "metric": paths.get(id(slot.metric))}


def slot_of(entry: Mapping[str, Any], metrics: Mapping[str, Any]) -> Slot | None:
    """Make a slot anew, if all that it's made of is known."""
    if entry["rule"] is None:
        return None
    rule = SlotRule(**{**entry["rule"], "names": SlotNames(**entry["rule"]["names"])})
    if "metric" not in entry:
        return ValueSlot(rule, None)
    metric = metrics.get(entry["metric"])
    return None if metric is None else MetricSlot(rule, None, metric)


class Recorder:
    """Routes each logged value to its slot. The first call of a name in a hook is checked; the others are quick."""

    def __init__(self) -> None:
        self.hook: str | None = None
        """The hook that runs now; set by the hook plan and the loops."""
        self.results: Results | None = None
        """Where values go; ``None`` where nothing may be logged."""
        self.dataloader_idx: int | None = None
        """Which of several loaders is being evaluated."""
        self._batch: Any = None
        self._batch_size: int | None = 1
        self._counts = True

    def start_batch(self, batch: Any, *, counts: bool = True) -> None:
        """Note the batch whose size weighs what's logged from now on.

        Args:
            batch: the batch.
            counts: whether what's logged counts; that of a batch which only pads doesn't.
        """
        self._batch = batch
        self._counts = counts
        self._batch_size = None

    def end_batches(self) -> None:
        """Note that no batch is being worked on."""
        self._batch = None
        self._batch_size = 1
        self._counts = True

    def log(self, module: nn.Module, name: str, *, value: Any, batch_size: int | None, options: LogOptions) -> None:
        """Take one value.

        Raises:
            MisconfigurationException: as `slot_rule`, or for the same name with other arguments.
            ValueError: for what isn't one number.
        """
        results = self.results
        if results is None:
            place = "here" if self.hook is None else f"in `{self.hook}`"
            message = f"`self.log` can't be used {place}: nothing is logged in this stage."
            raise MisconfigurationException(message)
        # Without the loader's index in its name, a value is the same one for all loaders.
        key = (self.hook or "", name, self.dataloader_idx if options.add_dataloader_idx else None)
        slot = results.slots.get(key)
        if slot is None:
            slot = self._new_slot(module, name, value=value, options=options)
            results.add(key, slot)
        elif slot.options is None:
            slot.options = options
        elif slot.options != options:
            message = (
                f"`self.log({name!r}, ...)` was called twice in `{self.hook}` with different arguments:"
                f" {slot.options} and {options}. Use the same ones, or two names."
            )
            raise MisconfigurationException(message)
        if self.dataloader_idx is not None:
            slot.loaders.add(self.dataloader_idx)
        if not self._counts:
            slot.pass_over()
            return
        slot.update(value, batch_size if batch_size is not None else self._inferred_batch_size(slot))

    def _new_slot(self, module: nn.Module, name: str, *, value: Any, options: LogOptions) -> Slot:
        rule = slot_rule(self.hook, name, options=options, dataloader_idx=self.dataloader_idx)
        if not is_metric(value):
            return ValueSlot(rule, options)
        _check_is_attribute(module, name, metric=value, attribute=options.metric_attribute)
        return MetricSlot(rule, options, value)

    def _inferred_batch_size(self, slot: Slot) -> int:
        """Return the size of the current batch where a weighted mean needs it, else 1."""
        if not slot.rule.on_epoch or slot.rule.reduction != "mean" or isinstance(slot, MetricSlot):
            return 1
        if self._batch_size is None:
            self._batch_size = extract_batch_size(self._batch)
        return self._batch_size


def _check_is_attribute(module: nn.Module, name: str, *, metric: Any, attribute: str | None) -> None:
    """Refuse a metric that isn't reachable from the module: it would be neither moved nor saved."""
    if attribute is not None:
        if any(attribute == path for path, _ in module.named_modules()) or hasattr(module, attribute):
            return
        message = f"`self.log({name!r}, ..., metric_attribute={attribute!r})`: the module has no such attribute."
        raise MisconfigurationException(message)
    if any(metric is child for child in module.modules()) or any(metric is value for value in vars(module).values()):
        return
    message = (
        f"`self.log({name!r}, metric)`: the metric ({type(metric).__name__}) must be an attribute of the module, so"
        " that it's moved to its device and reset at the end of the epoch."
    )
    raise MisconfigurationException(message)


def warn_not_recording(name: str, *, is_barebones: bool) -> None:
    """Say that a value goes nowhere; under ``barebones``, where steps are measured, only once."""
    if is_barebones:
        _warned.warn(f"`self.log({name!r}, ...)` was called under `barebones=True`; the value goes nowhere.")
    else:
        rank_zero_warn(f"`self.log({name!r}, ...)` was called without a running Trainer; the value goes nowhere.")
