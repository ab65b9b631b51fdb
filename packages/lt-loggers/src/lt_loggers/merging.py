"""Merging several dicts of metrics into one."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any


def merge_dicts(
    dicts: Sequence[Mapping[str, Any]],
    agg_key_funcs: Mapping[str, Any] | None = None,
    default_func: Callable[[Sequence[float]], float] = fmean,
) -> dict[str, Any]:
    """Merge dicts, aggregating the values of each key; keys come out sorted.

    Args:
        dicts: metrics by name; nested dicts are merged level by level, ``None`` values are left out.
        agg_key_funcs: how to aggregate the values of a key; a dict of such functions for a key that holds dicts.
        default_func: how to aggregate the values of the other keys.

    >>> merge_dicts([{"loss": 1.0, "hits": 3}, {"loss": 2.0, "hits": 4}], agg_key_funcs={"hits": sum})
    {'hits': 7, 'loss': 1.5}
    """
    functions = agg_key_funcs or {}
    merged: dict[str, Any] = {}
    for key in sorted({key for entries in dicts for key in entries}):
        values = [entries[key] for entries in dicts if entries.get(key) is not None]
        if values:
            merged[key] = _merged(values, functions.get(key), default_func)
    return merged


def _merged(values: Sequence[Any], function: Any, default_func: Callable[[Sequence[float]], float]) -> Any:
    if all(isinstance(value, Mapping) for value in values):
        return merge_dicts(values, function, default_func)
    aggregate = default_func if function is None else function
    return aggregate(values)
