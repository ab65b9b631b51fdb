"""Ranks that compute each batch together evaluate each sample once, too, and wait for nobody who doesn't come."""

from functools import cache

import pytest
from sharded_evaluation_ranks import Evaluated, evaluate, train_after_evaluating, what_is_said

from lt_interfaces.testing.ranks import run_in_processes

SIZES, BATCH_SIZES = range(3, 11), (1, 2, 3, 4)


@cache
def evaluated(world: int) -> list[Evaluated]:
    return run_in_processes(evaluate, SIZES, BATCH_SIZES, world_size=world, timeout_seconds=110)


@pytest.mark.parametrize("world", [2, 3])
def test_each_sample_counts_once_and_predictions_are_in_order(world: int) -> None:
    for of_rank in evaluated(world):
        for (size, batch_size), (metrics, predictions) in of_rank.items():
            case = (size, batch_size)
            assert metrics["count"] == size, case
            assert metrics["mean"] == pytest.approx(size - 1), case  # the mean of 0, 2, 4, ...
            assert predictions == [2.0 * number for number in range(size)], case


def test_a_model_is_trained_after_it_was_evaluated() -> None:
    for before, within in run_in_processes(train_after_evaluating):
        assert before == within == pytest.approx(6)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("too few", "The val data has 1 samples for 2 ranks"),
        ("stream", "The val loader 0 has no length"),
        ("limited stream", "counted 4.0"),
        ("own sampler", "Ranks have [2, 3] batches in the val loader 0"),
    ],
)
def test_data_that_ranks_cant_evaluate_together_are_refused_on_all(kind: str, said: str) -> None:
    for found in run_in_processes(what_is_said, kind):
        assert said in found
