"""Publication: what was recorded goes to the loggers and to the dicts that users and callbacks read."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from lt_core.logging.recorder import Results
from lt_core.logging.reduction import Entry, Ranks, reduce_over_ranks, reduced_if_same
from lt_core.logging.slots import Slot, Value, settled
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

    def take_steps(self, results: Results, *, alone: bool) -> None:
        """Make the latest step values visible, without a host sync; ``alone``: whether there are no other ranks."""
        for slot in _fresh_steps(results):
            names, value = slot.rule.names, slot.step_value()[0]
            if callable(value):
                if not alone:
                    continue  # computing it takes all ranks
                value = settled(value)
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

    def take_current(self, results: Results, *, alone: bool) -> None:
        """Make visible what this rank has now: step values and, when the epoch's batches are done, epoch values.

        With several ranks a metric object's value is there after the flush only: one rank can't compute it by itself.

        Args:
            results: this rank's.
            alone: whether there are no other ranks.
        """
        self.take_steps(results, alone=alone)
        if results.epoch_ended:
            for slot in _epoch_slots(results):
                value = slot.epoch_value()[0]
                if alone or not callable(value):
                    self.take_epoch(slot, settled(value))

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
    board.take_steps(results, alone=ranks.world_size == 1)
    slots = _fresh_steps(results)
    if not loggers and ranks.world_size == 1:
        return {}
    shared = _shared_steps(slots)
    numbers: dict[str, Number] = {}
    # In training every flush compares names; in evaluation there may be one per batch, so it needs something to send.
    if shared or not results.is_evaluation:
        numbers = reduce_over_ranks([_step_entry(slot) for slot in shared], ranks)
    if ranks.world_size > 1:
        board.replace_steps(shared, numbers, is_evaluation=results.is_evaluation)
    numbers.update(_own_steps(set(slots) - set(shared)))
    return _sent(slots, numbers)


def has_shared_steps(results: Results) -> bool:
    """Say whether this rank has logged step values since the last flush that are to be reduced over ranks."""
    return results.logs_steps and bool(_shared_steps(_fresh_steps(results)))


def flush_steps_of_rank(results: Results, board: MetricBoard, *, own_only: bool) -> dict[str, Number]:
    """Return the step values that this rank logged since the last flush, not reduced, without a collective.

    For batches of an evaluation that not every rank has.

    Args:
        results: this rank's.
        board: shows them.
        own_only: return those only that were logged with ``rank_zero_only=True``.
    """
    board.take_steps(results, alone=False)
    slots = _fresh_steps(results)
    return _sent(slots, _own_steps(slot for slot in slots if slot.rule.rank_zero_only or not own_only))


def flush_epoch(results: Results, board: MetricBoard, ranks: Ranks) -> dict[str, tuple[Slot, Number]]:
    """Return the epoch values over all ranks by name, make them visible, and forget the epoch.

    One collective; with metric objects one more, beside their own. Only where names differ, ranks tell each other what
    they have: one that had no batch takes part with what the others logged.
    """
    board.take_steps(results, alone=ranks.world_size == 1)
    shared, own = _shared_epoch(results), set(_epoch_slots(results))
    numbers = _first_reduction(shared, ranks)
    if numbers is None:
        shared = _of_all_ranks(results, shared, ranks)
        numbers = reduce_over_ranks([_epoch_entry(slot) for slot in shared], ranks)
    own -= set(shared)
    numbers.update(to_host({slot.rule.names.epoch: settled(slot.epoch_value()[0]) for slot in own}))
    flushed: dict[str, tuple[Slot, Number]] = {}
    for slot in results:
        name = slot.rule.names.epoch
        if slot in own.union(shared):
            board.take_epoch(slot, numbers[name])
            flushed[name] = (slot, numbers[name])
    results.reset()
    return flushed


def reduced(results: Results | None, board: MetricBoard, *, key: str, ranks: Ranks) -> Tensor | None:
    """Return the current value of a callback metric over all ranks; collective with several."""
    if results is not None:
        board.take_current(results, alone=ranks.world_size == 1)
    if results is None or ranks.world_size == 1:
        return board.callback.get(key)
    slot = _slot_of_all_ranks(results, key, ranks)
    if slot is None:
        return board.callback.get(key)  # from an earlier flush, so the same on every rank already; or rank 0's own
    entry = _epoch_entry(slot) if results.epoch_ended else _step_entry(slot)
    return to_tensor(reduce_over_ranks([entry._replace(name=key)], ranks)[key])


def _slot_of_all_ranks(results: Results, key: str, ranks: Ranks) -> Slot | None:
    """Return the slot whose current value a key shows, if it's one that's reduced over ranks."""
    slot = _named(key, _shared_epoch(results) if results.epoch_ended else _shared_steps(_fresh_steps(results)))
    if not (results.is_evaluation and results.epoch_ended):
        return slot
    found = [] if slot is None else [Entry(key, 0.0, 0.0, "sum")]
    if reduced_if_same(found, ranks) is None:  # a rank that had no batch doesn't know of it
        slot = _named(key, _of_all_ranks(results, _shared_epoch(results), ranks))
    return slot


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


def _shared_steps(slots: Iterable[Slot]) -> list[Slot]:
    return [slot for slot in slots if _is_shared(slot, slot.step_value()[0])]


def _shared_epoch(results: Results) -> list[Slot]:
    return [slot for slot in _epoch_slots(results) if _is_shared(slot, slot.epoch_value()[0])]


def _of_all_ranks(results: Results, slots: list[Slot], ranks: Ranks) -> list[Slot]:
    # Loaded with several ranks alone: `import lt_core` keeps within its budget of modules.
    from lt_core.logging.silent_ranks import slots_of_all_ranks

    return slots_of_all_ranks(results, slots, ranks)


def _is_shared(slot: Slot, value: Value) -> bool:
    return not slot.rule.rank_zero_only or callable(value)  # computing a metric object takes all ranks in any case


def _step_entry(slot: Slot) -> Entry:
    return _entry(slot, slot.rule.names.step, slot.step_value())


def _epoch_entry(slot: Slot) -> Entry:
    return _entry(slot, slot.rule.names.epoch, slot.epoch_value())


def _entry(slot: Slot, name: str, weighted: tuple[Value, float]) -> Entry:
    value, weight = weighted
    # What all ranks compute together is the same on all of them already.
    return Entry(name, value, weight, "mean" if callable(value) else slot.rule.reduction)


def _first_reduction(shared: Sequence[Slot], ranks: Ranks) -> dict[str, Number] | None:
    """Return the epoch's values by name, or ``None`` where ranks have different names."""
    entries = [_epoch_entry(slot) for slot in shared]
    return reduce_over_ranks(entries, ranks) if ranks.world_size == 1 else reduced_if_same(entries, ranks)


def _named(key: str, slots: Iterable[Slot]) -> Slot | None:
    """Return the slot whose current value a key shows."""
    names = ((slot, slot.rule.names) for slot in slots)
    return next((slot for slot, name in names if key in (name.plain, name.step, name.epoch)), None)


def _own_steps(slots: Iterable[Slot]) -> dict[str, Number]:
    """Return step values that aren't reduced over ranks, but for those that take all ranks."""
    values = ((slot.rule.names.step, slot.step_value()[0]) for slot in slots)
    return to_host({name: value for name, value in values if not callable(value)})


def _sent(slots: Iterable[Slot], numbers: Mapping[str, Number]) -> dict[str, Number]:
    """Return what loggers get of the step values, and note that they got it."""
    for slot in slots:
        slot.fresh = False
    names = (slot.rule.names.step for slot in slots if slot.rule.logger)
    return {name: numbers[name] for name in names if name in numbers}
