"""A small GPT on real text trains under DeepSpeed's stages as in one process, by the Trainer."""

import tempfile
from functools import cache
from typing import Any, Final

import pytest
import torch
from sharding_ranks import Net, Outcome, Run, fit, mean_losses, train

from lt_interfaces.testing.ranks import run_in_processes

pytestmark = pytest.mark.timeout(300)
SETTINGS: Final[list[dict[str, Any]]] = [
    {"accumulation": accumulation, "clip": clip} for accumulation in (1, 2) for clip in (None, 1.0)
]
RUNS: Final = [Run("", f"deepspeed_stage_{stage}", **setting) for stage in (1, 2, 3) for setting in SETTINGS]


class Alone(Net):
    """Keeps the norms of its gradients, added up in fp64."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.exact_norms: list[float] = []

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        gradients = [one.grad.double() for one in self.parameters() if one.grad is not None]
        self.exact_norms.append(torch.nn.utils.get_total_norm(gradients).item())


def title(run: Run) -> str:
    return f"{run.layout}, accumulation {run.accumulation}" + (", clipped" if run.clip else "")


@cache
def alone(accumulation: int, clip: float | None) -> tuple[Outcome, list[float]]:
    """Train in one process; returns what came out, and norms in fp64."""
    with tempfile.TemporaryDirectory() as folder:
        module = Alone(Run(folder, accumulation=accumulation, clip=clip))
        return fit(module), module.exact_norms


@cache
def on_ranks() -> dict[str, tuple[Outcome, ...]]:
    """Train in one job, as starting its processes is what takes time; returns each run's outcome by rank."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Run(folder, run.layout, run.accumulation, run.clip) for run in RUNS]
        ranks = run_in_processes(train, runs, timeout_seconds=250)
    return dict(zip(map(title, RUNS), zip(*ranks, strict=True), strict=True))


@pytest.mark.parametrize("run", RUNS, ids=title)
def test_a_small_gpt_trains_as_in_one_process(run: Run) -> None:
    expected, _ = alone(run.accumulation, run.clip)
    losses = mean_losses([expected], run.accumulation)
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    ranks = on_ranks()[title(run)]
    assert mean_losses(ranks, run.accumulation) == pytest.approx(losses, rel=0, abs=1e-5)
    for rank in ranks:
        assert rank.logged == pytest.approx(expected.logged, rel=0, abs=1e-5)


@pytest.mark.parametrize("run", [run for run in RUNS if run.clip], ids=title)
def test_clipping_finds_the_norm_of_one_process(run: Run) -> None:
    """The norm of one process's gradients is added up in fp64 here.

    torch adds up a norm over a million elements in fp32, in another order than DeepSpeed: these two differ by up to
    1.3e-6, relative.
    """
    expected, norms = alone(run.accumulation, run.clip)
    assert len(norms) == 20
    assert min(norms[:5]) > 1.0  # or nothing would have been clipped
    assert expected.norms == pytest.approx(norms, rel=2e-6)
    for rank in on_ranks()[title(run)]:
        assert rank.norms == pytest.approx(norms, rel=1e-6)
