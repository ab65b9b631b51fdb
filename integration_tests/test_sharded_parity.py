"""However a model is laid out over processes, it trains as in one process with the whole batch."""

import tempfile
from dataclasses import replace
from functools import cache
from typing import Final

import pytest
from sharding_ranks import Outcome, Run, mean_losses, train

from lt_interfaces.testing.ranks import run_in_processes

SETTINGS: Final = [(accumulation, clip) for accumulation in (1, 2) for clip in (None, 1.0)]
MOST: Final = (2, 1.0)
"""What a layout is tried with that differs from another one in where things are kept, not in what's computed."""
RUNS: Final = [
    *(Run("", layout, accumulation=length, clip=clip) for layout in ("ddp", "fsdp") for length, clip in SETTINGS),
    *(
        Run("", f"fsdp, {kept}", accumulation=MOST[0], clip=MOST[1])
        for kept in ("sharded state", "kept after forward", "recomputed", "offloaded")
    ),
    *(Run("", "hybrid", accumulation=length, clip=clip) for length, clip in ((1, None), MOST)),
]


def title(run: Run) -> str:
    return f"{run.layout}, accumulation {run.accumulation}" + (", clipped" if run.clip else "")


@cache
def alone() -> dict[tuple[int, float | None], Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        runs = [Run(folder, accumulation=length, clip=clip) for length, clip in SETTINGS]
        return dict(zip(SETTINGS, train(runs), strict=True))


@cache
def on_ranks(num_ranks: int) -> dict[Run, tuple[Outcome, ...]]:
    """Train in one job, as starting its processes is what takes time; returns each run's outcome by rank."""
    own = [run for run in RUNS if (run.layout == "hybrid") == (num_ranks == 4)]
    with tempfile.TemporaryDirectory() as folder:
        runs = [replace(run, folder=folder) for run in own]
        ranks = run_in_processes(train, runs, world_size=num_ranks, timeout_seconds=110)
    return dict(zip(own, zip(*ranks, strict=True), strict=True))


@pytest.mark.parametrize("run", RUNS, ids=title)
def test_a_laid_out_model_trains_as_in_one_process(run: Run) -> None:
    expected = alone()[run.accumulation, run.clip]
    losses = mean_losses([expected], run.accumulation)
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    assert len(expected.norms) == (0 if run.clip is None else 20)
    ranks = on_ranks(4 if run.layout == "hybrid" else 2)[run]
    assert mean_losses(ranks, run.accumulation) == pytest.approx(losses, rel=0, abs=1e-5)
    for rank in ranks:
        assert rank.norms == pytest.approx(expected.norms, rel=1e-6)
        assert rank.logged == pytest.approx(expected.logged, rel=0, abs=1e-5)
