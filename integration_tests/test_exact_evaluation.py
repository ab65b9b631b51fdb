"""Each sample counts once and predictions come complete and in order: any number of samples, ranks, any batch size."""

from functools import cache
from typing import Any

import pytest
from evaluating_ranks import BATCH_SIZES, Evaluated, evaluate_all, predict_with_workers

from lt_interfaces.testing.ranks import run_in_processes

SIZES = range(1, 21)
ALONE = (1, 2, 3, 11)
WORLDS = (1, 2, 3)
# In the order of the loaders: two kinds of datasets for each number of samples.
CELLS = [(size, batch_size) for size in SIZES for _ in range(2) for batch_size in BATCH_SIZES]


@cache
def evaluated(world: int) -> list[Evaluated]:
    """Evaluate everything in one job, as starting its processes is what takes time; returns what each rank got."""
    return run_in_processes(evaluate_all, SIZES, ALONE, world_size=world, timeout_seconds=100)


def batches(samples: range, batch_size: int) -> list[dict[str, Any]]:
    parts = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]
    return [{"twice": [2 * sample for sample in part], "names": [str(sample) for sample in part]} for part in parts]


def statistics(size: int) -> dict[str, Any]:
    mean = pytest.approx(sum(sample**2 for sample in range(size)) / size)
    return {"count": size, "largest": size - 1, "mean_epoch": mean, "by_metric": mean}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stage", ["validated", "tested"])
def test_each_sample_counts_once_on_every_rank(world: int, stage: str) -> None:
    for of_rank in evaluated(world):
        found = [
            {name.removesuffix(f"/dataloader_idx_{idx}"): value for name, value in metrics.items()}
            for idx, metrics in enumerate(getattr(of_rank, stage))
        ]
        assert found == [statistics(size) for size, _ in CELLS]


@pytest.mark.parametrize("world", WORLDS)
def test_each_sample_of_a_single_loader_counts_once(world: int) -> None:
    for of_rank in evaluated(world):
        assert of_rank.alone == {size: [statistics(size)] for size in ALONE}


@pytest.mark.parametrize("world", WORLDS)
def test_gathered_predictions_are_complete_and_in_order(world: int) -> None:
    for of_rank in evaluated(world):
        assert of_rank.gathered == [batches(range(size), batch_size) for size, batch_size in CELLS]


@pytest.mark.parametrize("world", WORLDS)
def test_each_rank_predicts_its_share(world: int) -> None:
    for rank, of_rank in enumerate(evaluated(world)):
        assert of_rank.own == [batches(range(rank, size, world), batch_size) for size, batch_size in CELLS]


@pytest.mark.parametrize("world", WORLDS)
def test_samples_of_loaders_read_side_by_side_count_once(world: int) -> None:
    for of_rank in evaluated(world):
        assert of_rank.side_by_side["max_size"] == 5 + 8
        assert of_rank.side_by_side["max_size_cycle"] > 5 + 8 > of_rank.side_by_side["min_size"]


def test_workers_change_nothing() -> None:
    for gathered, validated in run_in_processes(predict_with_workers, 11):
        assert gathered == [batches(range(11), 2)] * 3
        assert validated == [statistics(11)]
