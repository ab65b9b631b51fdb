"""Several loaders iterated as one."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice, repeat, zip_longest
from math import inf, isinf
from typing import Any, Final, NoReturn, TypeAlias

from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from lt_fabric.data.lengths import sized_len
from lt_interfaces.spelling import did_you_mean

# Batches and nests of loaders are whatever the user's code makes them, hence Any.
Step: TypeAlias = tuple[Any, int, int]
Opener: TypeAlias = Callable[[], Iterator[Any]]

_END: Final = object()


def _min_size(openers: Sequence[Opener], ended: Set[int]) -> Iterator[Sequence[Any]]:
    return zip(*(opener() for opener in openers), strict=False)


def _max_size(openers: Sequence[Opener], ended: Set[int]) -> Iterator[Sequence[Any]]:
    rows = (iter(()) if position in ended else opener() for position, opener in enumerate(openers))
    return zip_longest(*rows)


def _max_size_cycle(openers: Sequence[Opener], ended: Set[int]) -> Iterator[Sequence[Any]]:
    # Opened here and not in the generator: workers of all loaders start at `iter()`, not at the first batch.
    return _cycle([opener() for opener in openers], openers, unfinished=set(range(len(openers))) - ended)


def _cycle(
    iterators: list[Iterator[Any]], openers: Sequence[Opener], *, unfinished: set[int]
) -> Iterator[Sequence[Any]]:
    while unfinished:
        row = [next(iterator, _END) for iterator in iterators]
        ended = [position for position, batch in enumerate(row) if batch is _END]
        unfinished.difference_update(ended)
        if not unfinished:
            return
        for position in ended:
            iterators[position] = openers[position]()
            row[position] = next(iterators[position], _END)
            if row[position] is _END:
                _refuse_to_cycle(position)
        yield row


def _refuse_to_cycle(position: int) -> NoReturn:
    message = (
        f"Loader {position} of the CombinedLoader gave no batch when it was started again, so it can't be cycled. "
        f"Use an iterable that isn't empty and can be iterated more than once, or `mode='max_size'` or 'min_size'."
    )
    raise ValueError(message)


def _sequential(openers: Sequence[Opener]) -> Iterator[Step]:
    return chain.from_iterable(
        zip(opener(), count(), repeat(position), strict=False) for position, opener in enumerate(openers)
    )


@dataclass(frozen=True)
class _ParallelMode:
    """How batches of all loaders are drawn into one row, and how many rows there are."""

    rows: Callable[[Sequence[Opener], Set[int]], Iterator[Sequence[Any]]]
    length: Callable[[Sequence[float]], float]


_PARALLEL: Final = {
    "min_size": _ParallelMode(_min_size, min),
    "max_size_cycle": _ParallelMode(_max_size_cycle, max),
    "max_size": _ParallelMode(_max_size, max),
}
_MODES: Final = (*_PARALLEL, "sequential")


class CombinedLoader:
    """Iterates a nest of loaders (list, dict, tuple, ... of iterables) as if it were one.

    Iterating yields `(batch, batch_idx, dataloader_idx)`. What `batch` is depends on the mode:

    - "min_size": one batch of every loader, in the same nest as the loaders; stops at the shortest.
    - "max_size_cycle": the same, but stops when each loader has been exhausted once; shorter ones start again.
    - "max_size": the same, but exhausted loaders give None; stops at the longest.
    - "sequential": the batches of one loader after another; `batch_idx` counts within the loader and
      `dataloader_idx` is its position in `flattened`. In the other modes `dataloader_idx` is 0.

    Iterating twice starts all loaders again. Worker processes start at `iter()`, in "sequential" mode when the
    loader's turn comes.

    Raises:
        ValueError: unknown `mode`.

    Example:
        >>> loaders = CombinedLoader({"a": range(3), "b": "xy"}, mode="max_size_cycle")
        >>> for batch, batch_idx, dataloader_idx in loaders:
        ...     print(batch, batch_idx, dataloader_idx)
        {'a': 0, 'b': 'x'} 0 0
        {'a': 1, 'b': 'y'} 1 0
        {'a': 2, 'b': 'x'} 2 0
    """

    def __init__(self, iterables: Any, mode: str = "min_size") -> None:
        if mode not in _MODES:
            known = ", ".join(_MODES)
            hint = did_you_mean(str(mode), _MODES)
            message = f"`mode={mode!r}` isn't a mode of CombinedLoader; choose one of {known}.{hint}"
            raise ValueError(message)
        self.mode: Final = mode
        self._flattened, self._spec = tree_flatten(iterables)
        self._limits: list[int | float] | None = None
        self._was_iterated = False

    @property
    def iterables(self) -> Any:
        """The loaders in the nest in which they were given."""
        return tree_unflatten(self._flattened, self._spec)

    @property
    def flattened(self) -> list[Any]:
        """The loaders as a flat list; assign a list of the same length to replace them."""
        return self._flattened

    @flattened.setter
    def flattened(self, loaders: list[Any]) -> None:
        if len(loaders) != len(self._flattened):
            message = f"`flattened` needs {len(self._flattened)} loaders, as many as there are, but got {len(loaders)}."
            raise ValueError(message)
        self._flattened = list(loaders)

    @property
    def limits(self) -> list[int | float] | None:
        """The most batches taken from each loader (`math.inf` for all), or None for no limits.

        One number applies to every loader. Takes effect at the next `iter()`.
        """
        return self._limits

    @limits.setter
    def limits(self, limits: int | float | Sequence[int | float] | None) -> None:
        if isinstance(limits, int | float):
            limits = [limits] * len(self._flattened)
        self._limits = None if limits is None else [_checked_limit(limit) for limit in limits]
        if self._limits is not None and len(self._limits) != len(self._flattened):
            message = f"`limits` has {len(self._limits)} numbers for {len(self._flattened)} loaders."
            raise ValueError(message)

    @property
    def sampler(self) -> Any:
        """The samplers of the loaders, in the nest of the loaders; None for one that has none."""
        return tree_map(lambda loader: getattr(loader, "sampler", None), self.iterables)

    @property
    def batch_sampler(self) -> Any:
        """The batch samplers of the loaders, in the nest of the loaders; None for one that has none."""
        return tree_map(lambda loader: getattr(loader, "batch_sampler", None), self.iterables)

    @property
    def is_single(self) -> bool:
        """Whether there's one loader in no nest, so that a row is its batch."""
        return self._spec.is_leaf()

    @property
    def is_sized(self) -> bool:
        """Whether every loader knows its length, so that the last batch is known without looking ahead."""
        return all(sized_len(loader) is not None for loader in self._flattened)

    @property
    def num_batches(self) -> int | float:
        """The number of batches in one pass, limits included; `math.inf` if it depends on a loader without length."""
        if not self._flattened:
            return 0
        lengths = [min(_length(loader), limit) for loader, limit in _limited(self._flattened, self._limits)]
        return sum(lengths) if self.mode == "sequential" else _PARALLEL[self.mode].length(lengths)

    def __len__(self) -> int:
        """Returns `num_batches`, once `iter()` was called.

        Raises:
            RuntimeError: before the first `iter()`, or after `reset()`.
            TypeError: a loader that decides the length has none.
        """
        if not self._was_iterated:
            message = "The length of a CombinedLoader is only known after `iter(combined_loader)`; call that first."
            raise RuntimeError(message)
        length = self.num_batches
        if isinf(length):
            message = f"The CombinedLoader (`mode={self.mode!r}`) has a loader without length, so it has none."
            raise TypeError(message)
        return int(length)

    def __iter__(self) -> Iterator[Step]:
        """Starts the loaders and returns an iterator over `(batch, batch_idx, dataloader_idx)`."""
        return self.iterate([partial(iter, loader) for loader in self._flattened])

    def iterate(self, openers: Sequence[Opener], *, row: int = 0, ended: Set[int] = frozenset()) -> Iterator[Step]:
        """Returns an iterator as `iter()` does, over passes that somebody else opens: to go on within an epoch.

        Args:
            openers: one per loader, each returning the batches of a pass over it, or those left of one.
            row: how many were given before; not in "sequential" mode.
            ended: the loaders that have come to their end before.
        """
        self._was_iterated = True
        limited = [
            partial(_open, loader, limit, opener)
            for (loader, limit), opener in zip(_limited(self._flattened, self._limits), openers, strict=True)
        ]
        if self.mode == "sequential":
            return _sequential(limited)
        # itertools does the counting: one loader, the usual case, costs no Python code per batch.
        if self.is_single:
            return zip(limited[0](), count(row), repeat(0), strict=False)
        rows = _PARALLEL[self.mode].rows(limited, ended)
        return zip(map(partial(_nested, self._spec), rows), count(row), repeat(0), strict=False)

    def reset(self) -> None:
        """Forgets that it was iterated: `len()` needs a new `iter()`."""
        self._was_iterated = False


def _limited(loaders: list[Any], limits: list[int | float] | None) -> Iterator[tuple[Any, int | float]]:
    return zip(loaders, repeat(inf) if limits is None else limits, strict=False)


def _nested(spec: TreeSpec, row: Sequence[Any]) -> Any:
    return tree_unflatten(row, spec)


def _length(loader: object) -> int | float:
    length = sized_len(loader)
    return inf if length is None else length


def _checked_limit(limit: int | float) -> int | float:
    whole = isinstance(limit, int) or isinf(limit) or float(limit).is_integer()
    if not whole or limit < 0:
        message = f"`limits` are numbers of batches, zero or more (`math.inf` for all), but got {limit!r}."
        raise ValueError(message)
    return limit


def _open(loader: object, limit: int | float, opener: Opener) -> Iterator[Any]:
    # A limit that cuts nothing must not stop the loader short of its own end: some do their end-of-epoch work there.
    if limit == inf or limit >= _length(loader):
        return opener()
    return islice(opener(), int(limit))
