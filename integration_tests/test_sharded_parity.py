"""However a model is laid out over processes, it trains as in one process with the whole batch."""

import tempfile
from dataclasses import replace
from functools import cache
from typing import Any, Final

import pytest
from sharding_ranks import RANKS, Outcome, Run, mean_losses, train

from lt_interfaces.testing.ranks import run_in_processes

# Jobs of up to four processes, on machines with two cores that do other things, too.
pytestmark = pytest.mark.timeout(300)
PLAIN: Final[dict[str, Any]] = {"accumulation": 1, "clip": None}
MOST: Final[dict[str, Any]] = {"accumulation": 2, "clip": 1.0}
RUNS: Final = [
    *(
        Run("", layout, **setting)
        for layout in ("fsdp", "tensor", "pipeline", "shard x tensor", "hybrid")
        for setting in (PLAIN, MOST)
    ),
    # What differs from another one in where things are kept, not in what's computed.
    *(Run("", f"fsdp, {kept}", **MOST) for kept in ("sharded state", "kept after forward", "recomputed", "offloaded")),
    Run("", "ddp", **MOST),
]


def title(run: Run) -> str:
    return f"{run.layout}, accumulation {run.accumulation}" + (", clipped" if run.clip else "")


@cache
def alone() -> dict[tuple[int, float | None], Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        runs = [Run(folder, **setting) for setting in (PLAIN, MOST)]
        return {(run.accumulation, run.clip): outcome for run, outcome in zip(runs, train(runs), strict=True)}


@cache
def on_ranks(num_ranks: int) -> dict[Run, tuple[Outcome, ...]]:
    """Train in one job, as starting its processes is what takes time; returns each run's outcome by rank."""
    own = [run for run in RUNS if RANKS.get(run.layout, 2) == num_ranks]
    with tempfile.TemporaryDirectory() as folder:
        runs = [replace(run, folder=folder) for run in own]
        ranks = run_in_processes(train, runs, world_size=num_ranks, timeout_seconds=250)
    return dict(zip(own, zip(*ranks, strict=True), strict=True))


@pytest.mark.parametrize("run", RUNS, ids=title)
def test_a_laid_out_model_trains_as_in_one_process(run: Run) -> None:
    expected = alone()[run.accumulation, run.clip]
    losses = mean_losses([expected], run.accumulation)
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    assert len(expected.norms) == (0 if run.clip is None else 20)
    ranks = on_ranks(RANKS.get(run.layout, 2))[run]
    assert mean_losses(ranks, run.accumulation) == pytest.approx(losses, rel=0, abs=1e-5)
    for rank in ranks:
        assert rank.norms == pytest.approx(expected.norms, rel=1e-6)
        assert rank.logged == pytest.approx(expected.logged, rel=0, abs=1e-5)
