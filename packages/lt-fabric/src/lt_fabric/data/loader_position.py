"""Where one loader stands: passes over it are opened here, and taken up again where a checkpoint was saved.

What a loader needs for that depends on its kind:

- a `DataLoader` over a map-style dataset: its sampler is advanced; no item is read;
- a loader with `state_dict` and `load_state_dict` (torchdata's `StatefulDataLoader`): its own state;
- a `DataLoader` without workers over an iterable dataset with these methods: the dataset's state;
- anything else that can be iterated: what was seen before is read again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final

import torch
from torch.utils.data import DataLoader

from lt_fabric.data.index_stream import IndexStream
from lt_fabric.data.item_seeding import has_seeded_items
from lt_fabric.data.lengths import has_iterable_dataset
from lt_fabric.data.loader_copy import copy_loader
from lt_fabric.data.loader_shape import LoaderShape, is_drawn
from lt_fabric.data.owned_generators import capture_generators, owned_generators, restore_generators
from lt_fabric.data.stateful import StatefulLoader
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.rng import capture_rng_state, isolate_rng, restore_rng_state


class LoaderPosition:
    """One loader, the pass over it that's going on, and what brings a new process back there."""

    def __init__(self, loader: Any) -> None:
        self.taken = 0
        """Batches of the current pass that were given; whoever iterates counts."""
        self.ended = 0
        """Passes that came to their end."""
        self.shape: Final = LoaderShape.of(loader)
        """What tells where this loader stands in all the ranks' samples."""
        self._source: Final = _source_of(loader)
        self._generators: Final = owned_generators(loader)
        self._start: dict[str, Any] | None = None
        self._is_drawn = False
        self._resumed: Mapping[str, Any] | None = None

    @property
    def looks_ahead(self) -> bool:
        """Whether one batch must be read ahead, so that a position after the last one is right."""
        return self._source.looks_ahead

    def open(self) -> Iterator[Any]:
        """Begins a pass, or goes on with the one given to `load_state_dict`.

        Going on leaves the global generators somewhere else: whoever resumes restores them after all loaders are open.
        """
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            return self._go_on(resumed)
        self.taken, self._is_drawn = 0, False
        self._start = {"rng": capture_rng_state(), "generators": capture_generators(self._generators)}
        return self._source.open()

    def counted(self) -> Iterator[Any]:
        """Opens a pass that counts its batches by itself."""
        batches = self.open()
        return self._counting(batches)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position, as tensors and what the loader's own state is made of."""
        return {
            "taken": self.taken,
            "ended": self.ended,
            "start": self._start,
            "generators": capture_generators(self._generators),
            "kind": self._source.kind,
            "source": self._source.state_dict(self.taken),
            **self.shape.state_dict(is_drawn=self._is_drawn),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, is_over: bool, was_cut: bool) -> None:
        """Takes back what `state_dict` returned.

        Args:
            state: that.
            is_over: whether the pass was over, so that `open` begins the next one.
            was_cut: whether that pass was left before its end.
        """
        self.ended = state["ended"]
        if is_over:
            self._source.resume_after(state, was_cut=was_cut)
        else:
            self._resumed = state
        self.settle(state)

    def settle(self, state: Mapping[str, Any]) -> None:
        """Gives the loader's own generators the state they had when the state was taken."""
        if state["generators"] is not None:
            restore_generators(self._generators, state["generators"])

    def _go_on(self, state: Mapping[str, Any]) -> Iterator[Any]:
        self.taken, self._start = state["taken"], state["start"]
        self._is_drawn = is_drawn(state) and self.shape.draw_next()
        if self._start is not None:
            restore_rng_state(self._start["rng"])
            restore_generators(self._generators, self._start["generators"])
        return self._source.go_on(state)

    def _counting(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.taken += 1
            yield batch
        self.ended += 1


class _Source(ABC):
    """How passes over one kind of loader are opened, and taken up again."""

    kind: str

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    @property
    def looks_ahead(self) -> bool:
        """Whether its position after a pass's last batch is known only once the pass has ended."""
        return False

    @abstractmethod
    def open(self) -> Iterator[Any]:
        """Begins a pass."""

    @abstractmethod
    def go_on(self, state: Mapping[str, Any]) -> Iterator[Any]:
        """Takes up a pass; the generators are as they were when it began."""

    @abstractmethod
    def resume_after(self, state: Mapping[str, Any], *, was_cut: bool) -> None:
        """Makes ready for the pass that follows the saved one; `was_cut`: that one was left before its end."""

    @abstractmethod
    def state_dict(self, taken: int) -> Any:
        """Returns what this kind needs, after `taken` batches."""


class _Sampled(_Source):
    """A `DataLoader` over a map-style dataset: the position is that of its sampler."""

    kind = "sampler"

    def __init__(self, loader: DataLoader[Any]) -> None:
        name = "batch_sampler" if loader.batch_sampler is not None else "sampler"
        # One more than workers fetch ahead: the first is drawn when the pass begins.
        most_ahead = loader.num_workers * (loader.prefetch_factor or 0) + 2
        self._stream = IndexStream(getattr(loader, name), most_ahead)
        super().__init__(copy_loader(loader, **{name: self._stream}))  # the user's own loader stays as it is
        self._passes = 0
        """Passes begun over this loader, in earlier processes of the run, too."""
        self._has_workers = False
        """Whether this process has started the workers that persist."""

    def open(self) -> Iterator[Any]:
        keeps_workers = self.loader.persistent_workers and self._passes > 0
        self._passes += 1
        if keeps_workers and not self._has_workers:
            with _seed_drawn_elsewhere(self.loader):
                return self._iterate()
        return self._iterate()

    def go_on(self, state: Mapping[str, Any]) -> Iterator[Any]:
        if state["kind"] == self.kind:
            self._passes = state["source"]["passes"] - 1
            indices = state["source"]["indices"]
            if indices["drawn"]:  # else the pass begins, with the generators as they were
                self._stream.resume(**indices)
        else:
            self._stream.resume(state["taken"])
        _warn_of_randomness_in_workers(self.loader)
        batches = self.open()
        return batches if self._stream.was_opened else _read_again(batches, state["taken"], self.loader)

    def resume_after(self, state: Mapping[str, Any], *, was_cut: bool) -> None:
        if state["kind"] == self.kind:
            self._passes = state["source"]["passes"]
            self._stream.stand_after(state["source"]["indices"]["sampler_state"], was_cut=was_cut)

    def state_dict(self, taken: int) -> Any:
        return {"indices": self._stream.state_dict(taken), "passes": self._passes}

    def _iterate(self) -> Iterator[Any]:
        self._has_workers = True
        self._stream.expect()
        batches: Iterator[Any] = iter(self.loader)
        if self._stream.was_opened:
            self._stream.prime()
            return batches
        # An `__iter__` of the user's, written as a generator, begins with the first batch.
        return chain(list(islice(batches, 1)), batches)


class _Stateful(_Source):
    """A loader that saves its own position."""

    kind = "stateful"

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._saved: Any = None
        self._was_cut = False

    def open(self) -> Iterator[Any]:
        saved, self._saved = self._saved, None
        if saved is not None:
            self._stand_after(saved)
        with _seed_drawn_once(self.loader):
            return iter(self.loader)

    def _stand_after(self, saved: Any) -> None:
        """Lets the loader stand where the saved pass was over, without moving a generator."""
        generators = owned_generators(self.loader)
        before = capture_generators(generators)
        with isolate_rng():
            self.loader.load_state_dict(saved)
            if self._was_cut:
                iter(self.loader)  # the pass that was left before its end; the next one begins after it
            else:
                self.loader.state_dict()  # torchdata's takes the state up now, and not when the next pass begins
        restore_generators(generators, before)

    def go_on(self, state: Mapping[str, Any]) -> Iterator[Any]:
        if state["kind"] != self.kind:
            return _read_again(self.open(), state["taken"], self.loader)
        with _seed_drawn_once(self.loader):
            self.loader.load_state_dict(state["source"])
            return iter(self.loader)

    def resume_after(self, state: Mapping[str, Any], *, was_cut: bool) -> None:
        if state["kind"] == self.kind:
            self._saved, self._was_cut = state["source"], was_cut

    def state_dict(self, taken: int) -> Any:
        return self.loader.state_dict() if self._saved is None else self._saved


class _StatefulDataset(_Source):
    """A `DataLoader` without workers over an iterable dataset that saves its own position."""

    kind = "dataset"

    @property
    def looks_ahead(self) -> bool:
        return True  # a last batch that isn't full takes the dataset to its end

    def open(self) -> Iterator[Any]:
        return iter(self.loader)

    def go_on(self, state: Mapping[str, Any]) -> Iterator[Any]:
        if state["kind"] != self.kind:
            return _read_again(self.open(), state["taken"], self.loader)
        self.loader.dataset.load_state_dict(state["source"])
        return iter(self.loader)

    def resume_after(self, state: Mapping[str, Any], *, was_cut: bool) -> None:
        if state["kind"] == self.kind:
            self.loader.dataset.load_state_dict(state["source"])

    def state_dict(self, taken: int) -> Any:
        return self.loader.dataset.state_dict()


class _Readable(_Source):
    """Anything else: only reading leads forward."""

    kind = "read"

    def open(self) -> Iterator[Any]:
        return iter(self.loader)

    def go_on(self, state: Mapping[str, Any]) -> Iterator[Any]:
        return _read_again(self.open(), state["taken"], self.loader)

    def resume_after(self, state: Mapping[str, Any], *, was_cut: bool) -> None:
        """Do nothing: the next pass begins like any other."""

    def state_dict(self, taken: int) -> Any:
        return None


def _source_of(loader: Any) -> _Source:
    if isinstance(loader, StatefulLoader):
        return _Stateful(loader)
    if not isinstance(loader, DataLoader):
        return _Readable(loader)
    if not has_iterable_dataset(loader):
        return _Sampled(loader)
    saves_itself = isinstance(loader.dataset, StatefulLoader) and loader.num_workers == 0
    return _StatefulDataset(loader) if saves_itself else _Readable(loader)


def _read_again(batches: Iterator[Any], taken: int, loader: Iterable[Any]) -> Iterator[Any]:
    """Reads what was seen before, with a word where that may take a while or read from somewhere else."""
    if taken and not isinstance(loader, Sequence):
        rank_zero_warn(
            f"Going on after batch {taken} of a {type(loader).__name__} means reading what was seen before, as it can't"
            f" be positioned. {_way_out(loader)}"
        )
    next(islice(batches, taken, taken), None)
    return batches


def _way_out(loader: object) -> str:
    if isinstance(loader, StatefulLoader):
        return "Its saved state is another loader's, or that of another number of processes. A plain DataLoader can."
    if isinstance(loader, DataLoader) and has_iterable_dataset(loader):
        if isinstance(loader.dataset, StatefulLoader):
            return "Its dataset has a state, which lies in the workers: use torchdata's `StatefulDataLoader`."
        dataset = getattr(loader.dataset, "unshared", loader.dataset)
        return (
            f"Give `{type(dataset).__name__}` the methods `state_dict` and `load_state_dict`, and use"
            " `num_workers=0` or torchdata's `StatefulDataLoader`; or use a map-style dataset."
        )
    return "A map-style DataLoader can, and so can a loader with `state_dict` and `load_state_dict`."


def _warn_of_randomness_in_workers(loader: DataLoader[Any]) -> None:
    if loader.num_workers and not has_seeded_items(loader):
        rank_zero_warn(
            f"Training goes on in mid-epoch with a DataLoader that has {loader.num_workers} workers. Their random"
            " generators start anew, so if the dataset draws at random (augmentation), its items differ from those of"
            " an uninterrupted run. `seed_items=True` makes each item's randomness its own, whoever reads it."
        )


@contextmanager
def _seed_drawn_elsewhere(loader: DataLoader[Any]) -> Iterator[None]:
    """Lets the seed of the workers be drawn from a generator of their own, without moving any other."""
    with isolate_rng():
        seed = int(torch.empty((), dtype=torch.int64).random_())
    own, loader.generator = loader.generator, torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        loader.generator = own


@contextmanager
def _seed_drawn_once(loader: Any) -> Iterator[None]:
    """Lets a loader draw seeds as often as it likes, while its generator moves on by one draw.

    torchdata's loader opens its iterator once more after a resume, and when its state is asked for; each time it draws.
    """
    if not isinstance(loader, DataLoader):
        yield
        return
    own = loader.generator
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=own))
    loader.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        loader.generator = own
