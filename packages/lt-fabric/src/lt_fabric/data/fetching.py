"""Iteration that knows the last batch."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from math import inf
from operator import concat
from typing import Any, Final, TypeAlias

from lt_fabric.data.combined_loader import Step

# A step and whether it's the last one; the batch is whatever the user's loader gives.
MarkedStep: TypeAlias = tuple[Any, int, int, bool]

_END: Final = object()


def batches(steps: Iterable[Step], num_batches: int | float = inf, *, look_ahead: bool = False) -> Iterator[MarkedStep]:
    """Yields `(batch, batch_idx, dataloader_idx, is_last)` for the steps of a `CombinedLoader`.

    With a known `num_batches` a batch is read when it's asked for, and at most so many are given. Without one, or
    with `look_ahead` (a limit on a loader that may end sooner), one batch is read ahead, since only that tells
    which is the last. Iterate to the end, instead of leaving at `is_last`: the loader then reaches its own end, where
    some do their end-of-epoch work.

    An exception in a loader comes out unchanged, after every batch read before it was given.

    Example:
        >>> from lt_fabric.data import CombinedLoader
        >>> [(batch, is_last) for batch, _, _, is_last in batches(CombinedLoader("ab", "sequential"), 2)]
        [('a', False), ('b', True)]
    """
    if num_batches == inf:
        return _looking_ahead(iter(steps))
    if look_ahead:
        return _looking_ahead(islice(steps, int(num_batches)))
    if num_batches < 1:
        return iter(())
    # Only C code runs per batch: each step is joined with its mark.
    marks = chain(repeat((False,), int(num_batches) - 1), ((True,),))
    return map(concat, steps, marks)  # type: ignore[arg-type]  # tuples of different types make one longer tuple


def _looking_ahead(steps: Iterator[Step]) -> Iterator[MarkedStep]:
    current: Any = next(steps, _END)  # a Step, or the sentinel
    failure: Exception | None = None
    while current is not _END:
        try:
            following = next(steps, _END)
        except Exception as error:  # the loader's own; the batch in hand goes first
            failure = error
            following = _END
        yield (*current, following is _END and failure is None)
        current = following
    if failure is not None:
        raise failure
