"""What a step on two processes costs beyond a hand-written DDP loop, in counts that don't depend on the machine."""

import sys
from functools import cache
from pathlib import Path

import pytest

from lt_interfaces.testing.ranks import run_in_processes

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "bench"))

from ddp_overhead import (  # beside the repository's tools
    BASELINE,
    SHARDED,
    SHARDED_BASELINE,
    SIZES,
    VARIANTS,
    Cost,
    baseline_of,
    measure,
)


@cache
def counts() -> list[dict[tuple[str, str], Cost]]:
    """Count in one job, as starting its processes is what takes time."""
    return run_in_processes(measure, list(SIZES), 0, 0, timeout_seconds=100)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != baseline_of(name)])
def test_a_step_adds_no_collective_to_those_of_the_engine(variant: str, size: str) -> None:
    for rank in counts():
        cost, base = rank[size, variant], rank[size, baseline_of(variant)]
        assert cost.collectives - cost.asked == pytest.approx(base.collectives, abs=0.02)
        assert cost.asked <= 0.05  # what was logged is gathered at every fiftieth step; flags go through memory


@pytest.mark.parametrize("variant", ["lt, bare", "lt, bare, `log_every_n_steps=0`"])
def test_where_nothing_is_logged_a_step_adds_no_collective_at_all(variant: str) -> None:
    for rank in counts():
        assert rank["small", variant].asked == 0  # counted from step 150 on, after the first flush


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("variant", "baseline"), [("lt, bare", BASELINE), (SHARDED, SHARDED_BASELINE)])
def test_a_step_calls_hardly_more_python_functions_than_the_loop_by_hand(
    variant: str, baseline: str, size: str
) -> None:
    for rank in counts():
        assert rank[size, variant].calls - rank[size, baseline].calls <= 60
