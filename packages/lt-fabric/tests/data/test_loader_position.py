import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from epoch_loops import (
    Doubling,
    Loop,
    Noisy,
    Recording,
    Rereadable,
    StatefulIterable,
    StatefulStream,
    Stream,
    own,
    plain,
    seed,
)
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from lt_fabric.data import CombinedLoader, DataPosition, with_seeded_items
from lt_fabric.data.loader_position import LoaderPosition

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
IN_WORKERS = pytest.mark.filterwarnings("ignore:Training goes on in mid-epoch with a DataLoader that has")


def after(taken: int, loader: Any) -> dict[str, Any]:
    """Return the position after so many batches."""
    position = LoaderPosition(loader)
    list(islice(position.open(), taken))
    position.taken = taken
    return position.state_dict()


def went_on(loader: Any, state: dict[str, Any]) -> list[Any]:
    position = LoaderPosition(loader)
    position.load_state_dict(state, is_over=False, was_cut=False)
    return [plain(batch) for batch in position.open()]


# --- counting ---


def test_a_counted_pass_counts_its_batches_and_its_end() -> None:
    position = LoaderPosition(range(3))
    batches = position.counted()
    counts = []
    for _ in batches:
        counts.append((position.taken, position.ended))
    assert counts == [(1, 0), (2, 0), (3, 0)]
    assert position.ended == 1
    position.counted()
    assert (position.taken, position.ended) == (0, 1)


@pytest.mark.parametrize(
    ("loader", "looks_ahead"),
    [(range(3), False), (DataLoader(Recording(3)), False), (DataLoader(StatefulStream(3)), True)],
)
def test_only_a_stateful_dataset_needs_a_look_ahead(loader: Any, looks_ahead: bool) -> None:
    assert LoaderPosition(loader).looks_ahead == looks_ahead


# --- what must be read again ---


@pytest.mark.parametrize(
    ("loader", "way_out"),
    [
        (DataLoader(Stream(5), 2), "Give `Stream` the methods `state_dict` and `load_state_dict`"),
        (DataLoader(Stream(5), 2, num_workers=1), "Give `Stream` the methods"),
        (DataLoader(StatefulStream(5, is_noisy=False), 2, num_workers=1), "lies in the workers: use torchdata's"),
        (Rereadable(), "A map-style DataLoader can"),
        (Doubling(5, 2), None),
    ],
    ids=["stream", "stream in a worker", "stateful stream in a worker", "iterable", "subclass"],
)
def test_what_must_be_read_again_says_so_and_what_helps(loader: Any, way_out: str | None) -> None:
    seed(4)
    whole = [plain(batch) for batch in loader]
    seed(4)
    state = after(1, loader)
    seed(9)
    if way_out is None:
        assert went_on(loader, state) == whole[1:]
        return
    with pytest.warns(UserWarning, match=f"after batch 1 of a .* can't be positioned.*{way_out}"):
        assert went_on(loader, state) == whole[1:]


@pytest.mark.parametrize("loader", [range(5), DataLoader(Recording(5)), StatefulIterable(), DataLoader(Stream(5))])
def test_sequences_stateful_ones_and_the_begin_of_a_pass_need_no_warning(loader: Any) -> None:
    taken = 0 if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset) else 2
    state = after(taken, loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(went_on(loader, state)) == 5 - taken


def test_subclass_that_reads_otherwise_is_read_again() -> None:
    class Reversed(DataLoader[int]):
        def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
            return iter(list(range(len(self.dataset)))[::-1])  # type: ignore[arg-type]  # it's sized

    state = after(2, Reversed(Recording(5)))
    with pytest.warns(UserWarning, match="reading what was seen"):
        assert went_on(Reversed(Recording(5)), state) == [2, 1, 0]


@pytest.mark.parametrize(
    ("saved", "resumed"),
    [
        (range(8), StatefulIterable()),
        (range(8), DataLoader(StatefulStream(5, is_noisy=False), None)),
        (DataLoader(Recording(8), None), Rereadable()),
    ],
    ids=["stateful", "stateful dataset", "read"],
)
def test_another_kind_of_loader_goes_on_by_reading(saved: Any, resumed: Any) -> None:
    state = after(2, saved)
    with pytest.warns(UserWarning, match="reading what was seen"):
        assert len(went_on(resumed, state)) == 3


def test_sampled_loader_goes_on_after_as_many_batches_as_another_kind_gave() -> None:
    assert went_on(DataLoader(Recording(5), None), after(2, range(5))) == [2, 3, 4]


# --- generators of the loader ---


def test_own_generators_stand_after_a_resume_where_they_stood() -> None:
    def noisy() -> tuple[Noisy, DataPosition]:
        dataset = Noisy(9)
        return dataset, DataPosition(CombinedLoader(DataLoader(dataset, 2, shuffle=True, generator=own())))

    dataset, position = noisy()
    list(islice(position.steps(), 2))
    state = position.state_dict(2)
    other, resumed = noisy()
    other.of_python.random()
    resumed.load_state_dict(state)
    resumed.steps()
    assert other.of_python.random() == dataset.of_python.random()
    assert other.of_numpy.random() == dataset.of_numpy.random()
    assert other.of_old_numpy.random() == dataset.of_old_numpy.random()
    assert torch.equal(other.of_torch.get_state(), dataset.of_torch.get_state())


def test_loader_with_other_generators_is_refused() -> None:
    state = after(1, DataLoader(Recording(4), shuffle=True, generator=own()))
    with pytest.raises(ValueError, match="Resume with the loader that the run was saved with"):
        LoaderPosition(DataLoader(Recording(4))).load_state_dict(state, is_over=False, was_cut=False)


# --- the user's own loader ---


@pytest.mark.parametrize("batch_size", [2, None])
def test_users_loader_is_not_changed(batch_size: int | None) -> None:
    loader: Any = DataLoader(Recording(5), batch_size, shuffle=True)
    before = dict(vars(loader))
    went_on(loader, after(1, loader))
    assert vars(loader) == before


def test_users_loader_may_be_used_beside_its_position() -> None:
    loader: Any = DataLoader(Recording(4), None)
    position = LoaderPosition(loader)
    batches = position.open()
    first = next(batches)
    assert list(loader) == [0, 1, 2, 3]
    assert [first, *batches] == [0, 1, 2, 3]


# --- workers ---


@IN_WORKERS
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_another_number_of_workers_gives_the_same_batches() -> None:
    def make(num_workers: int) -> Any:
        return DataLoader(Recording(20), 2, shuffle=True, num_workers=num_workers)

    seed(5)
    whole = Loop(make(0)).run(2).seen
    seed(5)
    seen: list[Any] = []
    save = None
    for num_workers in (0, 3, 0):
        part = Loop(make(num_workers), saves_at=(2,)).run(2, save)
        save = part.saved[0]
        seen += part.seen[: save.steps_before]
        seed(99)
    seen += Loop(make(1)).run(2, save).seen
    assert seen == whole


@pytest.mark.filterwarnings("error")
def test_randomness_in_workers_is_warned_of_unless_items_are_seeded() -> None:
    loader = DataLoader(Recording(4), num_workers=1)
    state = after(1, loader)
    with pytest.warns(UserWarning, match=r"has 1 workers.*`seed_items=True`"):
        LoaderPosition(loader)._source.go_on(state)
    seeded = with_seeded_items(loader, 3)
    LoaderPosition(seeded)._source.go_on(state)
    LoaderPosition(DataLoader(Recording(4)))._source.go_on(state)


class FromWorker(Recording):
    """Items are the seed of the worker that reads them."""

    def __getitem__(self, index: int) -> int:
        info = get_worker_info()
        assert info is not None
        return int(info.seed)


def test_persistent_workers_are_started_once() -> None:
    loader: Any = DataLoader(FromWorker(3), None, num_workers=1, persistent_workers=True)
    position = LoaderPosition(loader)
    first, second = set(position.open()), set(position.open())
    assert first == second


@pytest.mark.parametrize("is_persistent", [False, True])
@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
def test_next_pass_moves_the_generators_as_without_an_interruption(kind: Any, is_persistent: bool) -> None:
    def make() -> LoaderPosition:
        return LoaderPosition(kind(Recording(3), None, num_workers=1, persistent_workers=is_persistent))

    position = make()
    list(position.open())
    position.taken = 3
    state, before = position.state_dict(), torch.get_rng_state()
    list(position.open())
    expected = torch.get_rng_state()
    resumed = make()
    resumed.load_state_dict(state, is_over=True, was_cut=False)
    torch.set_rng_state(before)
    list(resumed.open())
    assert torch.equal(torch.get_rng_state(), expected)
