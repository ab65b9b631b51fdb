"""Randomness of single items: the same for any number of workers and any point where a run is resumed."""

import hashlib
import operator
import os
import random
import struct
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, get_worker_info

from lt_fabric.data.lengths import has_iterable_dataset
from lt_fabric.data.loader_copy import copy_loader
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn


class SeededItems(Dataset[Any]):
    """A map-style dataset whose items draw from generators seeded by (seed, epoch, index) alone.

    Before an item is read, the global generators of python, numpy and torch's CPU are seeded for it; in the main
    process they're given back afterwards, so training draws what it would have drawn. Generators that the dataset keeps
    for itself, and those of devices, are left alone.

    A dataset that reads whole batches (`__getitems__`) still does; then a batch is one draw, seeded by all its indices.
    Everything else is the dataset's own: attributes are read from it and set on it. `unseeded` is the dataset itself.

    Example:
        >>> class Noise(Dataset):
        ...     def __getitem__(self, index):
        ...         return torch.rand(()).item()
        >>> noise = SeededItems(Noise(), seed=7)
        >>> noise[3] == noise[3], noise[3] == noise[4]
        (True, False)
    """

    unseeded: Dataset[Any]
    _seed: int
    _epoch: Tensor

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        # Workers that outlive an epoch see the next one through shared memory. Past `__setattr__`, which isn't ours.
        epoch = _shared(torch.zeros((), dtype=torch.int64, device="cpu"))
        vars(self).update(unseeded=dataset, _seed=seed, _epoch=epoch)

    def __getitem__(self, index: Any) -> Any:
        with _given_back_generators():
            return self._read(index)

    def __getitems__(self, indices: list[Any]) -> Any:
        """Reads the items of a batch, as loaders ask for them."""
        with _given_back_generators():  # once for a batch: numpy's takes longer than all the seeding
            if not _reads_batches(self.unseeded):
                return [self._read(index) for index in indices]
            self._seed_generators(*indices)
            return self.unseeded.__getitems__(indices)  # type: ignore[attr-defined]  # optional in a dataset

    def _read(self, index: Any) -> Any:
        self._seed_generators(index)
        return self.unseeded[index]

    def _seed_generators(self, *indices: Any) -> None:
        key = "/".join(map(str, (self._seed, self._epoch.item(), *map(_plain, indices))))
        words = struct.unpack("<QQI", hashlib.blake2b(key.encode(), digest_size=20).digest())
        random.seed(words[0])
        # `torch.manual_seed` would seed the devices' generators too, which nobody gives back here.
        torch.default_generator.manual_seed(words[1])
        if "numpy" in sys.modules:
            _numpy_random().seed(words[2])

    def __len__(self) -> int:
        return len(cast(Sized, self.unseeded))

    def begin_epoch(self, epoch: int) -> None:
        """Makes the items those of `epoch`, in running workers too."""
        self._epoch.fill_(epoch)

    def __getattr__(self, name: str) -> Any:
        # Python asks for its own names (`__deepcopy__`, ...) to learn about this object, also before it has any state.
        if name.startswith("__"):
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(self.unseeded, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.unseeded, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Plain pickling, other than handing over to a worker, made a copy in memory of its own.
        vars(self).update(state, _epoch=_shared(state["_epoch"]))


def with_seeded_items(loader: Any, seed: int) -> Any:
    """Returns a copy of `loader` whose dataset is wrapped into `SeededItems`, everything else unchanged.

    What has no map-style dataset (an `IterableDataset` draws its items itself, a list has none to draw) is returned as
    it came, with a warning. Fabric's users call it before `setup_dataloaders`.

    Example:
        >>> loader = with_seeded_items(DataLoader(range(3), batch_size=3), seed=7)
        >>> list(loader), has_seeded_items(loader)
        ([tensor([0, 1, 2])], True)
    """
    if isinstance(loader, DataLoader) and not has_iterable_dataset(loader):
        dataset: Any = loader.dataset
        items = SeededItems(dataset.unseeded if has_seeded_items(loader) else dataset, seed)
        seeded = copy_loader(loader, dataset=items)
        if seeded.dataset is items:
            return seeded
    rank_zero_warn(
        f"`seed_items` has no effect on a {type(loader).__name__} without a map-style dataset: random items depend on "
        f"the number of workers, and differ after a resume in mid-epoch."
    )
    return loader


def has_seeded_items(loader: object) -> bool:
    """Tells whether the items of `loader` are seeded one by one."""
    return isinstance(getattr(loader, "dataset", None), SeededItems)


def item_seed(seed_items: int) -> int:
    """Returns the seed that the argument `seed_items` stands for: for True, the one of `seed_everything`.

    Raises:
        MisconfigurationException: nobody called `seed_everything`; a resumed run couldn't find its seed again.
    """
    if seed_items is not True:
        return seed_items
    if "PL_GLOBAL_SEED" not in os.environ:
        message = (
            "`seed_items=True` takes the seed of `seed_everything`, which wasn't called: call it before the run, or "
            "give a number, as in `seed_items=7`."
        )
        raise MisconfigurationException(message)
    return int(os.environ["PL_GLOBAL_SEED"])


def _shared(number: Tensor) -> Tensor:
    number.share_memory_()  # type: ignore[no-untyped-call]
    return number


def _reads_batches(dataset: Any) -> bool:
    while type(dataset) is Subset:  # has `__getitems__` in any case, and reads item by item if the whole set does
        dataset = dataset.dataset
    return callable(getattr(dataset, "__getitems__", None))


def _plain(index: Any) -> int | str:
    """Returns the same for one index in its different types: 3, `np.int64(3)` and `torch.tensor(3)`."""
    try:
        return operator.index(index)
    except TypeError:
        return repr(index)


@contextmanager
def _given_back_generators() -> Iterator[None]:
    """Puts the generators of the main process back; what a worker draws next (its collate function) is seeded too."""
    if get_worker_info() is not None:
        yield
        return
    python, words = random.getstate(), torch.get_rng_state()
    numpy = _numpy_random().get_state() if "numpy" in sys.modules else None
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(words)
        if numpy is not None:
            _numpy_random().set_state(numpy)


def _numpy_random() -> Any:  # numpy's module, which type checkers may not find
    import numpy as np  # deferred: numpy is optional

    return np.random
