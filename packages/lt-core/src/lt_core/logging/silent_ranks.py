"""Ranks that had no batch of a loader: they learn from the others what was logged, and take part in reducing it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lt_core.logging.metric_objects import begin_lists_like, list_states, metrics_of
from lt_core.logging.recorder import Results, SlotKey, origin, slot_of
from lt_core.logging.reduction import NAMES, Ranks, refuse_names, reports
from lt_core.logging.slots import MetricSlot, Slot

Report = Mapping[str, Any]
"""What a rank tells of itself: loaders it had a batch of, where every slot comes from, which lists its metrics hold."""

_PER_BATCH: Final = frozenset(
    name
    for stage in ("validation", "test")
    for name in (f"{stage}_step", f"on_{stage}_batch_start", f"on_{stage}_batch_end")
)


def slots_of_all_ranks(results: Results, slots: Sequence[Slot], ranks: Ranks) -> list[Slot]:
    """Return the slots that any rank has, in the same order on all; those that this rank lacks are made here.

    Collective: one broadcast of each rank. Called where names were found to differ.

    Args:
        results: this rank's.
        slots: those of them that hold a value of the epoch.
        ranks: whose slots.

    Raises:
        RuntimeError: on every rank, when one lacks a name though it had the batches that others logged it for; or
            a metric object that it can't find.
    """
    metrics = {} if results.module is None else metrics_of(results.module)
    told = reports(_report(results, slots, metrics), ranks)
    if not all("slots" in report for report in told):
        refuse_names([set(report[NAMES]) for report in told])  # a rank is at another flush
    everything = _merged(told)
    _require_excuses(everything, told)
    joined = [_joined(results, key, entry=entry, metrics=metrics) for key, entry in everything.items()]
    if any(slot.is_empty and isinstance(slot, MetricSlot) for slot in joined):
        for path, lists in ((path, lists) for report in told for path, lists in report["lists"].items()):
            begin_lists_like(metrics[path], lists)
    return joined


def _report(results: Results, slots: Sequence[Slot], metrics: Mapping[str, Any]) -> Report:
    keys = {id(slot): key for key, slot in results.slots.items()}
    paths = {id(metric): path for path, metric in metrics.items()}
    return {
        NAMES: [slot.rule.names.epoch for slot in slots],
        "seen": set(results.seen),
        "slots": {keys[id(slot)]: {**origin(slot, paths), "loaders": set(slot.loaders)} for slot in slots},
        # Of all metrics: one that's logged may be made of others.
        "lists": {path: list_states(metric) for path, metric in metrics.items()},
    }


def _merged(told: Sequence[Report]) -> dict[SlotKey, dict[str, Any]]:
    everything: dict[SlotKey, dict[str, Any]] = {}
    for report in told:
        for key, entry in report["slots"].items():
            known = everything.setdefault(key, {**entry, "loaders": set()})
            known["loaders"] |= entry["loaders"]
    return everything


def _require_excuses(everything: Mapping[SlotKey, Mapping[str, Any]], told: Sequence[Report]) -> None:
    """Refuse what a rank lacks, unless it had none of the batches that the others logged it for."""
    named: list[set[str]] = [set() for _ in told]
    for key, entry in everything.items():
        name = entry["rule"]["names"]["epoch"]
        excused = [rank for rank, report in enumerate(told) if _is_excused(key, entry, report)]
        if excused and entry.get("metric", "") is None:
            message = (
                f"`{name}` is a metric object that ranks {excused}, which had no batch to log it for, can't find: make"
                " it a submodule, an attribute, or an item of a list or dict that is an attribute."
            )
            raise RuntimeError(message)
        for rank, report in enumerate(told):
            if rank in excused or key in report["slots"]:
                named[rank].add(name)
    if any(names != named[0] for names in named):
        refuse_names(named)


def _is_excused(key: SlotKey, entry: Mapping[str, Any], report: Report) -> bool:
    if key in report["slots"] or key[0] not in _PER_BATCH:
        return False
    # Without loaders there's a single one.
    return not (report["seen"] & entry["loaders"] if entry["loaders"] else report["seen"])


def _joined(results: Results, key: SlotKey, *, entry: Mapping[str, Any], metrics: Mapping[str, Any]) -> Slot:
    slot = results.slots.get(key)
    if slot is None:
        slot = slot_of(entry, metrics)
        assert slot is not None  # its metric object was found
        results.add(key, slot)
    slot.loaders |= entry["loaders"]
    return slot
