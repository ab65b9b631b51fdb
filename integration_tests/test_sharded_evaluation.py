"""Ranks that compute each batch together evaluate each sample once, too, and wait for nobody who doesn't come."""

from functools import cache

import pytest
from sharded_evaluation_ranks import (
    Evaluated,
    count_in_metric_objects,
    evaluate,
    metric_made_late,
    train_after_evaluating,
    what_is_said,
)

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


@pytest.mark.parametrize(("world", "plan"), [(2, None), (2, {"shard": 1, "tensor": 2}), (4, {"shard": 2, "tensor": 2})])
def test_metric_objects_count_each_sample_once(world: int, plan: dict[str, int] | None) -> None:
    for found, by_hand, is_as_before in run_in_processes(count_in_metric_objects, plan, world_size=world):
        assert found == {"seen": 8, "trained": 8, "most": 7, "all": 28}
        assert by_hand == [28]
        assert is_as_before


def test_a_metric_object_without_memory_is_refused_and_one_on_the_cpu_counts() -> None:
    for said in run_in_processes(metric_made_late, "meta"):
        assert "SumMetric was made on the meta device, where the first values of its sum_value are lost" in said
    assert run_in_processes(metric_made_late, "cpu") == [8, 8]


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
