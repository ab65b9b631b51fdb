"""What a step on two processes costs beyond a hand-written DDP loop, in counts that don't depend on the machine."""

import sys
from functools import cache
from pathlib import Path

import pytest

from lt_interfaces.testing.ranks import run_in_processes

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "bench"))

from ddp_overhead import BASELINE, SIZES, VARIANTS, Cost, measure  # beside the repository's tools


@cache
def counts() -> list[dict[tuple[str, str], Cost]]:
    """Count in one job, as starting its processes is what takes time."""
    return run_in_processes(measure, list(SIZES), 0, 0, timeout_seconds=100)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != BASELINE])
def test_a_step_adds_no_collective_to_those_of_ddp(variant: str, size: str) -> None:
    for rank in counts():
        cost, base = rank[size, variant], rank[size, BASELINE]
        assert cost.collectives - cost.asked == pytest.approx(base.collectives, abs=0.02)
        assert cost.asked <= 0.05  # what was logged is gathered at every fiftieth step; flags go through memory


@pytest.mark.parametrize("variant", ["lt, bare", "lt, bare, `log_every_n_steps=0`"])
def test_where_nothing_is_logged_a_step_adds_no_collective_at_all(variant: str) -> None:
    for rank in counts():
        assert rank["small", variant].asked == 0  # counted from step 150 on, after the first flush


@pytest.mark.parametrize("size", SIZES)
def test_a_step_calls_hardly_more_python_functions_than_hand_written_ddp(size: str) -> None:
    for rank in counts():
        assert rank[size, "lt, bare"].calls - rank[size, BASELINE].calls <= 60
