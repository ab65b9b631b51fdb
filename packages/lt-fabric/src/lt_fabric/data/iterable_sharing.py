"""Iterable datasets shared out over ranks and workers by sample index."""

import inspect
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import CodeType
from typing import Any, cast

from torch.utils.data import DataLoader, IterableDataset, IterDataPipe, get_worker_info

from lt_fabric.data.lengths import has_iterable_dataset
from lt_fabric.data.loader_copy import copy_loader
from lt_fabric.data.stateful import StatefulLoader
from lt_fabric.data.whole_batches import dropping_nothing
from lt_interfaces.rank_zero import WarningCache

_assumed = WarningCache()


@dataclass(frozen=True)
class Share:
    """Which samples of a stream are one rank's: every `num_replicas`-th, from `rank` on."""

    num_replicas: int
    rank: int
    splits_itself: bool = False
    """Whether each worker's stream is a part of its own, instead of the same one in every worker."""
    batch_size: int = 1
    """Samples that a worker gives in a row, where workers take turns."""
    whole_batches: bool = False
    """Whether the last samples are left out that fill no batch, as one process would with `drop_last`."""

    def block(self) -> tuple[int, range]:
        """Returns how many samples of the stream are read in one go, and which of them are given, here and now."""
        worker = get_worker_info()
        if worker is None:
            return self.num_replicas, range(self.rank, self.rank + 1)
        if self.splits_itself:
            # Shifted by worker: else the first rank would get the odd sample of every worker's stream.
            own = (self.rank + worker.id) % self.num_replicas
            return self.num_replicas, range(own, own + 1)
        turn = self.batch_size * self.num_replicas
        return turn * worker.num_workers, range(turn * worker.id + self.rank, turn * (worker.id + 1), self.num_replicas)

    def length(self, whole: int) -> int:
        """Returns how many of `whole` samples are this rank's.

        Raises:
            TypeError: nobody knows, as each worker leaves out samples of a stream of its own length.
        """
        if self.splits_itself:
            message = (
                "The length of a rank's share is unknown, as the dataset's workers share its samples by themselves."
            )
            raise TypeError(message)
        if self.whole_batches:
            whole -= whole % self.batch_size
        return len(range(self.rank, whole, self.num_replicas))


class _Shared(IterableDataset[Any]):
    """What both kinds of shared datasets do; everything else is the dataset's own: attributes are read and set there.

    Samples are read in blocks, one for each rank and worker, and a block is read whole before its first sample is
    given. So the dataset stands at the same place on every rank whenever a batch is complete.
    """

    unshared: IterableDataset[Any]
    _share: Share
    _is_at_end: bool

    def __init__(self, dataset: IterableDataset[Any], share: Share) -> None:
        vars(self).update(unshared=dataset, _share=share, _is_at_end=False)  # past `__setattr__`, which isn't ours

    def __iter__(self) -> Iterator[Any]:
        stream = iter(self.unshared)
        if self._share.whole_batches:
            stream = _whole_batches(stream, self._share.batch_size)
        block, given = self._share.block()
        is_at_end, vars(self)["_is_at_end"] = self._is_at_end, False
        while not is_at_end:
            num_read, own = _read_block(stream, block, given)
            is_at_end = num_read < block
            vars(self)["_is_at_end"] = is_at_end
            yield from own
        vars(self)["_is_at_end"] = False

    def __len__(self) -> int:
        return self._share.length(len(cast(Sized, self.unshared)))

    def __getattr__(self, name: str) -> Any:
        # Python asks for its own names (`__deepcopy__`, ...) to learn about this object, also before it has any state.
        if name.startswith("__") or "unshared" not in vars(self):
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(self.unshared, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.unshared, name, value)


class SharedIterable(_Shared):
    """One rank's share of an iterable dataset, which must give the same samples in the same order on every rank.

    Example:
        >>> class Count(IterableDataset):
        ...     def __iter__(self):
        ...         return iter(range(5))
        >>> list(SharedIterable(Count(), Share(num_replicas=2, rank=1)))
        [1, 3]
    """


class StatefulSharedIterable(_Shared):
    """One rank's share of an iterable dataset that can save where it stands."""

    def state_dict(self) -> dict[str, Any]:
        """Returns where the dataset stands, the same on every rank."""
        return {"dataset": cast(StatefulLoader, self.unshared).state_dict(), "is_at_end": self._is_at_end}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned."""
        cast(StatefulLoader, self.unshared).load_state_dict(state["dataset"])
        vars(self)["_is_at_end"] = state["is_at_end"]


def with_shared_iterable(
    loader: DataLoader[Any], *, num_replicas: int, rank: int, each_once: bool = False
) -> DataLoader[Any]:
    """Returns `loader` so that it gives its share of an iterable dataset: sample i goes to rank i % num_replicas.

    With workers, a dataset whose code refers to `get_worker_info` is taken to split its samples over them by itself,
    so that ranks share each worker's stream. Any other gives the same stream in each worker: workers take turns, and
    the loader gives the same batches as without workers. What was assumed is said once.

    With `each_once`, for evaluation, `drop_last` leaves out what it leaves out in one process.

    With one replica, and for a dataset that says `is_sharded = True`, that is torch's `IterDataPipe`, or that isn't
    iterable, `loader` is returned unchanged.
    """
    if num_replicas == 1 or not has_iterable_dataset(loader):
        return loader
    dataset = cast(IterableDataset[Any], loader.dataset)
    if getattr(dataset, "is_sharded", False) or isinstance(dataset, _Shared | IterDataPipe):
        return loader
    splits_itself = loader.num_workers > 0 and _splits_over_workers(loader)
    _say_what_is_assumed(dataset, has_workers=loader.num_workers > 0, splits_itself=splits_itself)
    whole_batches = each_once and loader.drop_last
    share = Share(num_replicas, rank, splits_itself, loader.batch_size or 1, whole_batches)
    kind = StatefulSharedIterable if isinstance(dataset, StatefulLoader) else SharedIterable
    shared = copy_loader(loader, dataset=kind(dataset, share))
    return dropping_nothing(shared) if whole_batches else shared


def keeps_order(dataset: object) -> bool:
    """Tells whether a loader over `dataset` gives every `num_replicas`-th sample of one stream, in its order."""
    return isinstance(dataset, _Shared) and not dataset._share.splits_itself


def _read_block(stream: Iterator[Any], size: int, given: range) -> tuple[int, list[Any]]:
    """Reads a block; returns how many samples it had, and those of them that are given."""
    own, num_read = [], 0
    for place, sample in enumerate(islice(stream, size)):
        num_read += 1
        if place in given:
            own.append(sample)
    return num_read, own


def _whole_batches(stream: Iterator[Any], batch_size: int) -> Iterator[Any]:
    while len(batch := list(islice(stream, batch_size))) == batch_size:
        yield from batch


def _say_what_is_assumed(dataset: object, *, has_workers: bool, splits_itself: bool) -> None:
    if hasattr(dataset, "is_sharded"):
        return  # False: it was decided
    name = type(dataset).__name__
    workers = ""
    if splits_itself:
        workers = " Over workers it's taken to split them by itself, as its code refers to `get_worker_info`."
    elif has_workers:
        workers = " So is every worker, as its code doesn't refer to `get_worker_info`: workers share them out, too."
    _assumed.warn(
        f"The samples of `{name}`, an IterableDataset, are shared out over ranks by index: every rank is taken to see"
        f" the same ones in the same order.{workers} If each rank gets samples of its own, set `is_sharded = True` on"
        f" `{name}`, or pass `use_distributed_sampler=False`."
    )


def _splits_over_workers(loader: DataLoader[Any]) -> bool:
    # A `worker_init_fn` that splits does it on `get_worker_info().dataset`; others only want a seed.
    splits_there = all(_refers_to(name, loader.worker_init_fn) for name in ("get_worker_info", "dataset"))
    return splits_there or any(map(_has_such_code, _with_parts(loader.dataset)))


def _with_parts(dataset: object) -> list[object]:
    """Returns a dataset and the iterable datasets that it's made of, in attributes or lists there."""
    found, left = {id(dataset): dataset}, [dataset]
    while left:
        for value in getattr(left.pop(), "__dict__", {}).values():
            parts = value if isinstance(value, list | tuple) else (value,)
            new = [part for part in parts if isinstance(part, IterableDataset) and id(part) not in found]
            found.update((id(part), part) for part in new)
            left += new
    return list(found.values())


def _has_such_code(dataset: object) -> bool:
    classes = [cls for cls in type(dataset).__mro__ if not cls.__module__.startswith("torch.utils.data")]
    return any(_refers_to("get_worker_info", member) for cls in classes for member in vars(cls).values())


def _refers_to(name: str, function: object) -> bool:
    """Tells whether a function, method or property, or a function made within it, refers to a name."""
    if isinstance(function, property):
        function = function.fget
    if isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return isinstance(code, CodeType) and _names(code, name)


def _names(code: CodeType, name: str) -> bool:
    return name in code.co_names or any(_names(part, name) for part in code.co_consts if isinstance(part, CodeType))
