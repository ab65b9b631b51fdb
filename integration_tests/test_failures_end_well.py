"""Whatever fails in a job, and whoever started it: its processes end soon, and the first failure is what is shown."""

from pathlib import Path

import pytest

from failure_table.cells import Cell, all_cells, run_cell

SLOWER = 3
"""So many times longer than on a machine that does nothing else."""


@pytest.mark.parametrize("cell", all_cells(), ids=str)
def test_every_process_ends_after_the_first_failure_and_shows_it(cell: Cell, tmp_path: Path) -> None:
    ending = run_cell(cell, tmp_path)
    assert ending.flaws(times=SLOWER) == [], ending.output


@pytest.mark.parametrize("launcher", ["script re-launch", "spawn", "torchrun"])
def test_rank_zero_may_be_the_one_that_fails(launcher: str, tmp_path: Path) -> None:
    ending = run_cell(Cell("exception", launcher, rank=0), tmp_path)
    assert ending.flaws(times=SLOWER) == [], ending.output


def test_leaving_on_rank_zero_is_shown_too(tmp_path: Path) -> None:
    ending = run_cell(Cell("sys.exit", "script re-launch", rank=0), tmp_path)
    assert ending.flaws(times=SLOWER) == [], ending.output
