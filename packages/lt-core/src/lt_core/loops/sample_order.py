"""The outputs of several ranks in the order of samples, in batches as one process would have made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NoReturn

import torch
from torch import Tensor

from lt_interfaces.errors import MisconfigurationException


def in_sample_order(outputs: Sequence[Sequence[Any]], sizes: Sequence[Sequence[int]], batch_size: int) -> list[Any]:
    """Return the outputs of all ranks as one process would have given them, batch by batch.

    Rank r's j-th sample is the one with index ``j * ranks + r``. Each output has an entry per sample: tensors along
    their first dimension, lists by their items, and dicts, tuples and lists of such. ``None`` stays ``None``.

    Args:
        outputs: of each rank, the outputs of its batches.
        sizes: of each rank, how many samples each batch had.
        batch_size: samples of a whole batch.

    Raises:
        MisconfigurationException: outputs that don't have an entry per sample, or that differ in what they're made of.

    >>> in_sample_order([[torch.tensor([0, 2]), torch.tensor([4])], [torch.tensor([1, 3])]], [[2, 1], [2]], 2)
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    rebatching = _rebatching(sizes, batch_size)
    values = [value for of_rank in outputs for value in of_rank]
    return _rebatched(values, rebatching, "the output")


def interleaved(outputs: Sequence[Sequence[Any]]) -> list[Any]:
    """Return outputs of single samples in the order of samples.

    >>> interleaved([["a", "c"], ["b"]])
    ['a', 'b', 'c']
    """
    places = _places([len(of_rank) for of_rank in outputs])
    values = [value for of_rank in outputs for value in of_rank]
    return [values[place] for place in places]


@dataclass(frozen=True)
class _Rebatching:
    """How what was read becomes what's returned."""

    sizes: list[int]
    """Samples of each batch that was read."""
    places: list[int]
    """Where each sample is among those read, in the order of samples."""
    bounds: list[tuple[int, int]]
    """The first sample and the one after the last of each batch that's returned."""


def _rebatching(sizes: Sequence[Sequence[int]], batch_size: int) -> _Rebatching:
    places = _places([sum(of_rank) for of_rank in sizes])
    starts = range(0, len(places), batch_size)
    bounds = [(start, min(start + batch_size, len(places))) for start in starts]
    return _Rebatching([size for of_rank in sizes for size in of_rank], places, bounds)


def _places(shares: Sequence[int]) -> list[int]:
    """Return where each sample is when the ranks' shares lie one after the other."""
    offsets = list(accumulate(shares, initial=0))
    keyed = [
        (sample * len(shares) + rank, offset + sample)
        for rank, (offset, end) in enumerate(pairwise(offsets))
        for sample in range(end - offset)
    ]
    return [place for _, place in sorted(keyed)]


def _rebatched(values: list[Any], how: _Rebatching, name: str) -> list[Any]:
    kinds = {type(value) for value in values}
    if not values:
        return []
    if kinds == {type(None)}:
        return [None] * len(how.bounds)
    first = values[0]
    if all(isinstance(value, Tensor) for value in values):
        return _of_tensors(values, how, name)
    if len(kinds) == 1 and isinstance(first, Mapping):
        return _of_mappings(values, how, name)
    if len(kinds) == 1 and isinstance(first, tuple):
        return _of_sequences(values, how, name)
    if kinds != {list}:
        _refuse(name, f"is of type {', '.join(sorted(kind.__name__ for kind in kinds))}")
    return _of_lists(values, how, name)


def _of_tensors(values: list[Tensor], how: _Rebatching, name: str) -> list[Any]:
    for value, size in zip(values, how.sizes, strict=True):
        if not value.dim() or value.shape[0] != size:
            _refuse(name, f"of a batch of {size} has the shape {tuple(value.shape)}")
    if len({(value.shape[1:], value.dtype) for value in values}) > 1:
        _refuse(name, "has another shape or format in another batch")
    ordered = torch.cat(values)[how.places]
    return [ordered[start:end].clone() for start, end in how.bounds]


def _of_mappings(values: list[Mapping[Any, Any]], how: _Rebatching, name: str) -> list[Any]:
    keys = list(values[0])
    if any(set(value) != set(keys) for value in values):
        _refuse(name, "has other keys in another batch")
    columns = {key: _rebatched([value[key] for value in values], how, f"{name}[{key!r}]") for key in keys}
    return [{key: column[batch] for key, column in columns.items()} for batch in range(len(how.bounds))]


def _of_sequences(values: list[Any], how: _Rebatching, name: str) -> list[Any]:
    """Rebatch tuples, or lists, item by item."""
    length = len(values[0])
    if any(len(value) != length for value in values):
        _refuse(name, "has another length in another batch")
    columns = [_rebatched([value[idx] for value in values], how, f"{name}[{idx}]") for idx in range(length)]
    kind = type(values[0])
    make = getattr(kind, "_make", kind)  # a named tuple takes its items one by one
    return [make([column[batch] for column in columns]) for batch in range(len(how.bounds))]


def _of_lists(values: list[list[Any]], how: _Rebatching, name: str) -> list[Any]:
    """Rebatch lists of one item per sample, or of what has an entry per sample."""
    sized = list(zip(values, how.sizes, strict=True))
    if all(_has_entries(value, size) for value, size in sized):
        return _of_sequences(values, how, name)
    items = [item for value in values for item in value]
    if any(len(value) != size for value, size in sized) or len({type(item) for item in items}) > 1:
        _refuse(name, "is a list of neither one item of one type per sample, nor of tensors with an entry per sample")
    return [[items[place] for place in how.places[start:end]] for start, end in how.bounds]


def _has_entries(value: Any, size: int) -> bool:
    """Say whether all tensors of an output, and nothing else is in it, have an entry per sample."""
    if isinstance(value, Tensor):
        return bool(value.dim()) and value.shape[0] == size
    if isinstance(value, Mapping):
        value = list(value.values())
    return isinstance(value, list | tuple) and bool(value) and all(_has_entries(item, size) for item in value)


def _refuse(name: str, what: str) -> NoReturn:
    message = (
        f"`predict(gather=True)` needs outputs with one entry per sample, but {name} of `predict_step` {what}. Return"
        " tensors whose first dimension is the batch, lists with one item per sample, or dicts and tuples of these; or"
        " leave out `gather` and take each rank's own outputs."
    )
    raise MisconfigurationException(message)
