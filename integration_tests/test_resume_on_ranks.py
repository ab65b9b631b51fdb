"""A run of several ranks goes on exactly on as many ranks, and with the same samples on more or fewer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from resuming_ranks import Record, Run, loop_with_fabric, train, variants

from lt_interfaces.testing.ranks import run_in_processes

pytestmark = pytest.mark.filterwarnings(
    "ignore:'set_vital' is deprecated", "ignore:Training goes on in mid-epoch", "ignore:Going on after batch"
)
EARLY, LATE = "on_train_batch_end 2", "on_train_epoch_end 1"


@pytest.fixture(autouse=True)
def _seeds_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process leave no seed in the environment."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


def test_each_rank_goes_on_exactly_from_any_step_with_any_loader(tmp_path: Path) -> None:
    runs = [
        Run("any step", save_at=("on_train_batch_end 1", EARLY, "on_train_batch_end 6", "on_validation_batch_end 2")),
        Run("workers", "workers", save_at=(EARLY, LATE)),
        Run("stateful loader", "stateful", save_at=(EARLY,)),
        Run("sampler of its own", "own draws", save_at=(EARLY, LATE)),
        Run("gradients of its own", is_manual=True, save_at=("on_train_batch_end 1", EARLY)),
        Run("asked for in a window", accumulation=2, save_at=("on_train_batch_end 3",), checkpoint_io="async"),
        Run("written by all ranks", accumulation=2, save_at=("on_train_batch_end 3",), checkpoint_io="sharded"),
    ]
    every = [variants(replace(run, folder=str(tmp_path / run.folder)), run.save_at) for run in runs]
    ranks = run_in_processes(train, [one for some in every for one in some], timeout_seconds=100)
    for rank, records in enumerate(ranks):
        left = iter(records)
        for some in every:
            whole, resumed = next(left), [next(left) for _ in some[1:]]
            for name, record in zip(some[0].save_at, resumed, strict=True):
                case = (rank, name, some[0].folder)
                # The module's own hook comes after the callbacks', and a save in mid-window waits for its end.
                later = name == LATE or some[0].accumulation > 1
                assert record.seen == whole.seen[whole.seen_at[name] + later :], case
                assert (record.weights, record.metrics) == (whole.weights, whole.metrics), case


TWO, ONE, HALF, THREE, SIX = (
    {"devices": 2},
    {"devices": 1, "batch_size": 8},
    {"devices": 1, "accumulation": 2},
    {"devices": 3},
    {"devices": 2, "batch_size": 6},
)


@dataclass
class Chain:
    """Jobs that hand a run over to each other after two optimizer steps each, and the same run in one go."""

    name: str
    shapes: Sequence[dict[str, int]]
    epochs: int = 2
    """In one process that was never several, later epochs have an order that depends on what was drawn before."""
    at_end: bool = False
    """Whether the first job hands over when an epoch is trained, but not closed: its means aren't logged yet."""
    loader: str = "shuffled"

    def __post_init__(self) -> None:
        self.steps: dict[int, Any] = {}
        self.last: Record | None = None

    def run(self, index: int, root: Path) -> Run:
        shape = self.shapes[index]
        is_last = index == len(self.shapes) - 1
        return Run(
            folder=str(root / self.name),
            loader=self.loader,
            dropout=0.0,
            validates=False,
            num_samples=48,
            epochs=self.epochs,
            resume=(LATE if self.at_end else "handed over") if index else None,
            stop_after=None if is_last or self.at_end else 2 * shape.get("accumulation", 1),
            save_at=(LATE,) if self.at_end and index == 0 else (),
            **shape,  # type: ignore[arg-type]  # all of them are numbers
        )

    def take(self, records: Sequence[Record]) -> None:
        self.steps |= steps_of(records)
        self.last = records[0]


CHAINS = (
    ("2x4, 1x8, 2x4", [TWO, ONE, TWO], 2),
    ("2x4, 1x4 twice, 2x4", [TWO, HALF, TWO], 2),
    ("1x8, 2x4, 1x8", [ONE, TWO, ONE], 1),
    ("3x4, 2x6", [THREE, SIX], 2),
    ("2x4, 1x8, 2x4, workers", [TWO, ONE, TWO], 2, False, "workers"),
    ("1x8, 2x4, 1x8, a loader that saves itself", [ONE, TWO, ONE], 1, False, "stateful"),
    ("2x4, 1x8, at an epoch's end", [TWO, ONE], 1, True),
    ("1x8, 2x4, at an epoch's end", [ONE, TWO], 1, True),
)


def test_jobs_of_other_ranks_go_on_with_the_same_samples_and_losses(tmp_path: Path) -> None:
    chains, whole = ([Chain(*chain) for chain in CHAINS] for _ in range(2))
    for index in range(3):
        runs = [(chain, chain.run(index, tmp_path)) for chain in chains if index < len(chain.shapes)]
        if index == 0:
            runs += [(one, replace(one.run(0, tmp_path / "whole"), stop_after=None)) for one in whole]
        train_each(runs)
    for chain, expected in zip(chains, whole, strict=True):
        assert samples_of(chain) == samples_of(expected), chain.name
        for step, (_, loss) in expected.steps.items():
            assert chain.steps[step][1] == pytest.approx(loss, abs=1e-6), (chain.name, step)
        for name in ("loss_epoch", "metric"):
            assert chain.last is not None
            assert expected.last is not None
            found = chain.last.metrics[name]
            assert found == pytest.approx(expected.last.metrics[name], abs=1e-6), (chain.name, name)


def train_each(runs: Sequence[tuple[Chain, Run]]) -> None:
    """Train each chain's run; those that take equally many processes in the same ones."""
    for devices in {run.devices for _, run in runs}:
        own = [(chain, run) for chain, run in runs if run.devices == devices]
        to_train = [run for _, run in own]
        ranks = (
            [train(to_train)]
            if devices == 1
            else run_in_processes(train, to_train, world_size=devices, timeout_seconds=100)
        )
        for (chain, _), records in zip(own, zip(*ranks, strict=True), strict=True):
            chain.take(records)


def steps_of(records: Sequence[Record]) -> dict[int, tuple[list[int], float]]:
    """Return for each optimizer step the samples of all ranks together, and their mean loss."""
    steps: dict[int, tuple[list[int], float]] = {}
    for record in records:
        for step, ids, loss in (one for one in record.seen if one[0] != "epoch ends"):
            samples, total = steps.get(step, ([], 0.0))
            steps[step] = (sorted(samples + ids), total + loss * len(ids))
    return {step: (samples, total / len(samples)) for step, (samples, total) in steps.items()}


def samples_of(chain: Chain) -> dict[int, list[int]]:
    return {step: ids for step, (ids, _) in chain.steps.items()}


def test_loops_of_ones_own_go_on_exactly_on_each_rank_and_with_the_same_samples_on_others(tmp_path: Path) -> None:
    run = Run(str(tmp_path), save_at=("batch 1", "batch 3", "batch 8"), num_samples=48)
    ranks = run_in_processes(loop_with_fabric, variants(run, run.save_at), timeout_seconds=100)
    for whole, *resumed in ranks:
        for name, seen in zip(run.save_at, resumed, strict=True):
            assert seen == whole[int(name.split()[1]) :], name
    expected = samples_of_batches([whole for whole, *_ in ranks])
    alone = Run(str(tmp_path), devices=1, batch_size=8, num_samples=48, resume="batch 3", stop_after=2)
    (first,) = loop_with_fabric([replace(alone, save_at=("batch 2",))])
    again = [replace(run, resume="batch 2", save_at=())]
    rest = [seen for (seen,) in run_in_processes(loop_with_fabric, again)]
    assert samples_of_batches([first]) + samples_of_batches(rest) == expected[3:]


def samples_of_batches(ranks: Sequence[list[Any]]) -> list[Any]:
    """Return the samples of all ranks together, by epoch and batch."""
    return [
        (*batches[0][:2], sorted(sample for _, _, ids, _ in batches for sample in ids))
        for batches in zip(*ranks, strict=True)
    ]
