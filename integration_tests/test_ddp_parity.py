"""DDP on two processes trains as one process does with batches twice as large."""

import tempfile
from functools import cache

import pytest
from parity_ranks import CELLS, NUM_STEPS, Cell, Outcome, all_cells

from lt_interfaces.testing.ranks import run_in_processes

FRONTS = ("Trainer", "Fabric")


@cache
def on_ranks(ranks: int) -> list[dict[tuple[str, str], Outcome]]:
    """Train in every way in one job, as starting its processes is what takes time."""
    with tempfile.TemporaryDirectory() as folder:
        if ranks == 1:
            return [all_cells(1, folder)]
        return run_in_processes(all_cells, ranks, folder, world_size=ranks, timeout_seconds=100)


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("front", FRONTS)
def test_two_processes_train_as_one_with_the_double_batch(front: str, cell: Cell) -> None:
    (alone,), ranks = on_ranks(1), on_ranks(2)
    expected = alone[front, str(cell)]
    assert expected.steps == NUM_STEPS * (2 if front == "Trainer" and cell.manual else 1)
    assert max(expected.losses) < 1.0
    for rank in ranks:
        outcome = rank[front, str(cell)]
        assert outcome.steps == expected.steps
        assert outcome.losses == pytest.approx(expected.losses, rel=0, abs=1e-6)
        assert outcome.weights == pytest.approx(expected.weights, rel=0, abs=1e-5)
        assert outcome.metrics == pytest.approx(expected.metrics, rel=0, abs=1e-6)
    assert ranks[0][front, str(cell)].weights == ranks[1][front, str(cell)].weights
