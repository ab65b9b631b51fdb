"""Promises of a place in the data that another number of ranks takes up, seen by ranks that are iterated in turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest
import torch
from epoch_loops import stored
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler

from lt_fabric.data import (
    CombinedLoader,
    DataPosition,
    following,
    order_seed,
    set_epoch,
    with_distributed_sampler,
    with_shared_iterable,
)
from lt_interfaces.rng import rng_state_of_rank

Seen = list[list[int]]
N = 48


@dataclass(frozen=True)
class Job:
    """How many processes there are, and how they cut a map-style dataset."""

    ranks: int
    batch_size: int
    options: str = "shuffle"
    accumulates: int = 1

    def loader(self, rank: int, seeds: Sequence[int | None]) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(7) if "generator" in self.options else None
        sampler = None
        if "weighted" in self.options:
            sampler = WeightedRandomSampler([1.0] * N, N, replacement=False, generator=generator)
            generator = None  # the loader knows nothing of it
        loader: DataLoader[Any] = DataLoader(
            range(N),  # type: ignore[arg-type]
            self.batch_size,
            shuffle=self.options in ("shuffle", "generator"),
            sampler=sampler,
            generator=generator,
        )
        if self.ranks > 1:
            loader = with_distributed_sampler(loader, num_replicas=self.ranks, rank=rank, seed=11)
        (followed,) = following([loader], seeds)
        set_epoch(followed, 3)
        return followed


def positions(job: Job, saved: Sequence[Any] | None) -> list[DataPosition]:
    """Return the positions of a job's ranks: from the start, or where another job has saved them."""
    seeds = [order_seed(state) for state in saved[0]["loaders"]] if saved is not None else []
    made = [DataPosition(CombinedLoader(job.loader(rank, seeds))) for rank in range(job.ranks)]
    for rank, position in enumerate(made if saved is not None else ()):
        assert saved is not None
        moved = position.moved([stored(state) for state in saved], rank=rank, world_size=job.ranks)
        position.load_state_dict(moved.state)
    return made


def steps_of(made: Sequence[DataPosition], steps: int | None, job: Job) -> tuple[Seen, list[Any]]:
    """Take optimizer steps (all that are left for ``None``) on all ranks; return each one's samples and the states."""
    seen: Seen = []
    begun = [position.row for position in made]
    iterators = [position.steps() for position in made]
    given = 0
    while steps is None or len(seen) < steps:
        samples: list[int] = []
        for _ in range(job.accumulates):
            batches = [next(iterator, None) for iterator in iterators]
            given += batches[0] is not None
            samples += [sample for batch in batches if batch is not None for sample in batch[0].tolist()]
        if not samples:
            break
        seen.append(sorted(samples))
    return seen, [position.state_dict(row + given) for position, row in zip(made, begun, strict=True)]


def whole_epoch(job: Job) -> Seen:
    torch.manual_seed(5)
    return steps_of(positions(job, None), None, job)[0]


JOBS = [
    [Job(2, 4), Job(1, 8), Job(2, 4)],
    [Job(1, 8), Job(2, 4), Job(1, 8)],
    [Job(2, 4), Job(1, 4, accumulates=2), Job(2, 4)],
    [Job(1, 8), Job(1, 4, accumulates=2), Job(2, 2, accumulates=2)],
    [Job(3, 4), Job(2, 6), Job(3, 4)],
    [Job(1, 12), Job(3, 4), Job(2, 6)],
    [Job(1, 8), Job(2, 4), Job(2, 4)],
    [Job(1, 8), Job(1, 4, accumulates=2), Job(1, 8)],
]


@pytest.mark.parametrize("options", ["shuffle", "in order", "generator", "weighted", "weighted, generator"])
@pytest.mark.parametrize("jobs", JOBS, ids=lambda jobs: "-".join(f"{job.ranks}x{job.batch_size}" for job in jobs))
@pytest.mark.parametrize("first", [0, 1, 2])
def test_all_ranks_together_see_the_same_samples_in_each_step(jobs: list[Job], options: str, first: int) -> None:
    jobs = [Job(job.ranks, job.batch_size, options, job.accumulates) for job in jobs]
    expected = whole_epoch(jobs[0])
    torch.manual_seed(5)
    seen, saved = steps_of(positions(jobs[0], None), first, jobs[0])
    for job, steps in zip(jobs[1:], (1, None), strict=True):
        torch.manual_seed(99)  # as in a process that has drawn other numbers before
        more, saved = steps_of(positions(job, saved), steps, job)
        seen += more
    assert seen == expected


def test_one_process_keeps_the_order_of_several_in_the_epochs_to_come() -> None:
    seen: dict[str, Seen] = {}
    for name, jobs in {"several": [Job(2, 4)] * 2, "then one": [Job(2, 4), Job(1, 8)]}.items():
        made = positions(jobs[0], None)
        _, saved = steps_of(made, None, jobs[0])
        for position in made:
            position.end_epoch(is_exhausted=True)
        saved = [position.state_dict(6) for position in made]
        torch.manual_seed(99)
        seen[name], _ = steps_of(positions(jobs[1], saved), None, jobs[1])
    assert seen["several"] == seen["then one"]


def test_place_that_no_batch_ends_at_is_refused_with_both_global_batches_and_a_way_out() -> None:
    _, saved = steps_of(positions(Job(1, 4), None), 3, Job(1, 4))
    before, own = r"4 samples \(1 process x `batch_size=4`\)", r"8 samples \(2 processes x `batch_size=4`\)"
    message = f"after 3 batches of an epoch, {before}.*{own}.*`devices` and `batch_size`"
    with pytest.raises(ValueError, match=message):
        positions(Job(2, 4), saved)


def test_end_of_an_epoch_needs_no_whole_batch() -> None:
    made = positions(Job(1, 4), None)
    steps_of(made, 3, Job(1, 4))
    made[0].end_epoch(is_exhausted=False)
    after, _ = steps_of(positions(Job(2, 4), [made[0].state_dict(3)]), None, Job(2, 4))
    assert len(after) == N // 8


def test_ranks_without_a_state_of_their_own_draw_numbers_of_their_own() -> None:
    _, saved = steps_of(positions(Job(1, 8), None), 2, Job(1, 8))
    drawn = []
    for position in positions(Job(2, 4), saved):
        next(position.steps())
        drawn.append(torch.rand(()).item())
    assert len(set(drawn)) == 2
    again = rng_state_of_rank([saved[0]["rng"]], 1)
    assert torch.equal(again["torch"], rng_state_of_rank([saved[0]["rng"]], 1)["torch"])


class Stream(IterableDataset[int]):
    """Counts, and saves how far."""

    def __init__(self) -> None:
        self.at = 0
        self.read: list[int] = []

    def __iter__(self) -> Iterator[int]:
        while self.at < N:
            self.at += 1
            self.read.append(self.at)
            yield self.at
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def streaming(job: Job, saved: Sequence[Any] | None) -> tuple[list[DataPosition], list[Stream]]:
    made, streams = [], []
    for rank in range(job.ranks):
        stream = Stream()
        loader = with_shared_iterable(DataLoader(stream, job.batch_size), num_replicas=job.ranks, rank=rank)
        position = DataPosition(CombinedLoader(loader))
        if saved is not None:
            position.load_state_dict(position.moved(saved, rank=rank, world_size=job.ranks).state)
        made.append(position)
        streams.append(stream)
    return made, streams


@pytest.mark.filterwarnings("ignore:The samples of `Stream`")
@pytest.mark.parametrize("jobs", [[Job(2, 4), Job(1, 8)], [Job(1, 8), Job(2, 4)], [Job(2, 6), Job(3, 4)]])
def test_streams_that_save_themselves_go_on_without_reading_again(jobs: list[Job]) -> None:
    made, _ = streaming(jobs[0], None)
    seen, saved = steps_of(made, 2, jobs[0])
    made, streams = streaming(jobs[1], saved)
    rest, _ = steps_of(made, None, jobs[1])
    assert sorted(chain.from_iterable(seen + rest)) == list(range(1, N + 1))
    assert all(min(stream.read) == sum(map(len, seen)) + 1 for stream in streams)
