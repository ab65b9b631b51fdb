"""Publication: what was recorded goes to the loggers and to the dicts that users and callbacks read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lt_core.logging.recorder import Results
from lt_core.logging.reduction import Entry, Ranks, reduce_over_ranks
from lt_core.logging.slots import Slot
from lt_core.logging.values import Number, to_host, to_tensor
from lt_interfaces.logger import Logger


class MetricBoard:
    """The metrics that users and callbacks read; made fresh for each entry point."""

    def __init__(self) -> None:
        self.callback: dict[str, Tensor] = {}
        self.logged: dict[str, Tensor] = {}
        self.progress_bar: dict[str, Tensor | Number] = {}

    def clear(self) -> None:
        """Forget everything, e.g. after a sanity check."""
        self.callback.clear()
        self.logged.clear()
        self.progress_bar.clear()

    def take_steps(self, results: Results) -> None:
        """Make the latest step values visible, without a host sync."""
        for slot in _fresh_steps(results):
            names, value = slot.rule.names, slot.step_value()[0]
            tensor = to_tensor(value)
            if not results.is_evaluation:
                self.callback[names.plain] = self.callback[names.step] = tensor
            if slot.rule.logger:
                self.logged[names.step] = tensor
            if slot.rule.prog_bar:
                self.progress_bar[names.step] = value

    def replace_steps(self, slots: Iterable[Slot], numbers: Mapping[str, Number], *, is_evaluation: bool) -> None:
        """Show the values over all ranks instead of this rank's."""
        for slot in slots:
            names = slot.rule.names
            tensor = to_tensor(numbers[names.step])
            if not is_evaluation:
                self.callback[names.plain] = self.callback[names.step] = tensor
            if slot.rule.logger:
                self.logged[names.step] = tensor
            if slot.rule.prog_bar:
                self.progress_bar[names.step] = numbers[names.step]

    def take_current(self, results: Results) -> None:
        """Make visible what this rank has now: step values and, when the epoch's batches are done, epoch values."""
        self.take_steps(results)
        if results.epoch_ended:
            for slot in _epoch_slots(results):
                self.take_epoch(slot, slot.epoch_value()[0])

    def take_epoch(self, slot: Slot, value: Tensor | Number) -> None:
        """Make one epoch value visible."""
        names, tensor = slot.rule.names, to_tensor(value)
        self.callback[names.plain] = self.callback[names.epoch] = tensor
        if slot.rule.logger:
            self.logged[names.epoch] = tensor
        if slot.rule.prog_bar:
            self.progress_bar[names.epoch] = value

    def publish(self, metrics: Mapping[str, Number]) -> None:
        """Make numbers visible that a callback sends to the loggers by itself."""
        self.callback.update({name: to_tensor(value) for name, value in metrics.items()})

    def bar(self) -> dict[str, Number]:
        """Return what the progress bar shows; a host sync."""
        return to_host(self.progress_bar)


def send(loggers: Iterable[Logger], metrics: Mapping[str, Number], step: int) -> None:
    """Hand metrics to every logger; nothing is sent when there are none."""
    if not metrics:
        return
    for logger in loggers:
        logger.log_metrics(metrics, step=step)


def flush_steps(results: Results, board: MetricBoard, *, loggers: Sequence[Logger], ranks: Ranks) -> dict[str, Number]:
    """Return the step values logged since the last flush over all ranks, as numbers: one sync, one collective.

    With neither loggers nor other ranks there's nobody to send to, so nothing is synchronised.
    """
    board.take_steps(results)
    slots = _fresh_steps(results)
    if not loggers and ranks.world_size == 1:
        return {}
    shared = [slot for slot in slots if not slot.rule.rank_zero_only]
    entries = [Entry(slot.rule.names.step, *slot.step_value(), slot.rule.reduction) for slot in shared]
    numbers = reduce_over_ranks(entries, ranks)
    if ranks.world_size > 1:
        board.replace_steps(shared, numbers, is_evaluation=results.is_evaluation)
    numbers.update(_own(slots, epoch=False))
    for slot in slots:
        slot.fresh = False
    return {slot.rule.names.step: numbers[slot.rule.names.step] for slot in slots if slot.rule.logger}


def flush_epoch(results: Results, board: MetricBoard, ranks: Ranks) -> dict[str, tuple[Slot, Number]]:
    """Return the epoch values over all ranks by name, make them visible, and forget the epoch."""
    board.take_steps(results)
    slots = _epoch_slots(results)
    shared = [slot for slot in slots if not slot.rule.rank_zero_only]
    entries = []
    for slot in shared:
        value, weight = slot.epoch_value()
        entries.append(Entry(slot.rule.names.epoch, value, weight, slot.rule.reduction))
    numbers = reduce_over_ranks(entries, ranks)
    numbers.update(_own(slots, epoch=True))
    flushed: dict[str, tuple[Slot, Number]] = {}
    for slot in slots:
        name = slot.rule.names.epoch
        board.take_epoch(slot, numbers[name])
        flushed[name] = (slot, numbers[name])
    results.reset()
    return flushed


def reduced(results: Results | None, board: MetricBoard, *, key: str, ranks: Ranks) -> Tensor | None:
    """Return the current value of a callback metric over all ranks; collective with several."""
    if results is not None:
        board.take_current(results)
    value = board.callback.get(key)
    if ranks.world_size == 1 or value is None:
        return value
    slot = _slot_named(results, key) if results is not None else None
    if slot is None or slot.rule.rank_zero_only:
        return value  # from an earlier flush, so the same on every rank already; or rank 0's own
    weight = slot.epoch_value()[1] if results is not None and results.epoch_ended else slot.step_value()[1]
    return to_tensor(reduce_over_ranks([Entry(key, value, weight, slot.rule.reduction)], ranks)[key])


def to_loggers(flushed: Mapping[str, tuple[Slot, Number]]) -> dict[str, Number]:
    """Return the part of a flushed epoch that loggers get."""
    return {name: value for name, (slot, value) in flushed.items() if slot.rule.logger}


def by_loader(flushed: Mapping[str, tuple[Slot, Number]], num_loaders: int) -> list[dict[str, float]]:
    """Return the epoch values of each loader; what belongs to no loader is in every one."""
    outputs: list[dict[str, float]] = [{} for _ in range(num_loaders)]
    for name, (slot, value) in flushed.items():
        for idx, output in enumerate(outputs):
            if slot.rule.logger and (not slot.loaders or idx in slot.loaders):
                output[name] = float(value)
    return outputs


def _fresh_steps(results: Results) -> list[Slot]:
    return [slot for slot in results if slot.rule.on_step and slot.fresh]


def _epoch_slots(results: Results) -> list[Slot]:
    return [slot for slot in results if slot.rule.on_epoch and not slot.is_empty]


def _slot_named(results: Results, key: str) -> Slot | None:
    """Return the slot whose current value a key shows."""
    slots = _epoch_slots(results) if results.epoch_ended else _fresh_steps(results)
    names = [(slot, slot.rule.names) for slot in slots]
    return next((slot for slot, name in names if key in (name.plain, name.step, name.epoch)), None)


def _own(slots: Iterable[Slot], *, epoch: bool) -> dict[str, Any]:
    """Return the values that aren't reduced over ranks, as numbers."""
    own: dict[str, Tensor | Number] = {}
    for slot in slots:
        if slot.rule.rank_zero_only:
            names = slot.rule.names
            own[names.epoch if epoch else names.step] = (slot.epoch_value() if epoch else slot.step_value())[0]
    return to_host(own)
