"""What several real ranks log comes to the same on all of them, and nobody waits for somebody who doesn't come."""

from functools import cache
from typing import Any

import pytest
from logging_ranks import LateFit, end_in_validation, everything, fit_logging_late_in_all_ways, log_other_names

from lt_interfaces.testing.ranks import run_in_processes


@cache
def on_ranks(world: int) -> list[dict[str, Any]]:
    """Do everything in one job, as starting its processes is what takes time; returns what each rank got."""
    return run_in_processes(everything, world_size=world, timeout_seconds=100)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_without_samples_see_the_same_results(world: int) -> None:
    for of_rank in on_ranks(world):
        for size, (outputs, shown, _, decided) in zip((1, 2, 1, 7), of_rank["few"], strict=True):
            mean = pytest.approx(sum(range(size)) / size)
            total = 2 * sum(range(size))
            assert shown == {"mean": mean, "plain": mean, "table": total, "twice": 2 * total}
            assert outputs == [shown]
            assert decided == {"mean": mean, "plain": mean}


@pytest.mark.parametrize("world", [2, 3])
def test_one_rank_may_read_metrics_before_the_flush(world: int) -> None:
    for size, (_, _, early, _) in zip((1, 2, 1, 7), on_ranks(world)[0]["few"], strict=True):
        assert "plain" in early, size


@pytest.mark.parametrize("world", [2, 3])
def test_a_metric_object_synchronises_once_per_epoch(world: int) -> None:
    for of_rank in on_ranks(world):
        with_metric, without = of_rank["gatherings in validation"]
        assert with_metric - without == 2 + 1  # the metric's two states, and what came out


@pytest.mark.parametrize("world", [2, 3])
def test_validations_within_training_come_to_the_same_on_ranks_without_samples(world: int) -> None:
    for of_rank in on_ranks(world):
        assert of_rank["fit"] == [0.0] * 6  # one sample, the number 0; a sanity check and two epochs, read in two ways


def test_values_are_gathered_when_they_are_flushed_and_never_else() -> None:
    for of_rank in on_ranks(2):
        each_batch, each_fourth, never = of_rank["gatherings in fit"]
        assert (each_batch - never, each_fourth - never) == (8, 2)


@cache
def late_fits() -> list[dict[str, LateFit]]:
    return run_in_processes(fit_logging_late_in_all_ways, timeout_seconds=100)


@pytest.mark.parametrize(
    ("logs", "flushes"), [("never", 1), ("own alone", 1), ("from a flush on", 3), ("between flushes", 3)]
)
def test_ranks_that_log_nothing_per_step_wait_for_each_other_at_the_first_flush_alone(logs: str, flushes: int) -> None:
    for of_rank in late_fits():
        assert of_rank[logs].gatherings - of_rank["without flushes"].gatherings == flushes


@pytest.mark.parametrize("logs", ["from a flush on", "between flushes"])
def test_the_first_step_values_go_to_the_loggers_at_their_own_flush(logs: str) -> None:
    assert late_fits()[0][logs].sent == [(5, {"x": 5.0}), (7, {"x": 7.0})]


def test_step_values_of_rank_zero_alone_go_to_the_loggers_without_a_gathering() -> None:
    assert late_fits()[0]["own alone"].sent == [(step, {"own": float(step)}) for step in (1, 3, 5, 7)]


@pytest.mark.parametrize(("logs", "rank"), [("one rank, at a flush", 1), ("one rank, between flushes", 0)])
def test_a_name_that_one_rank_alone_logs_late_raises_on_all_ranks_at_the_next_flush(logs: str, rank: int) -> None:
    for of_rank in late_fits():
        assert of_rank[logs].said.startswith("after 6 steps: ")
        assert f"Ranks logged different names: `x` only on ranks [{rank}]" in of_rank[logs].said


def test_means_over_ranks_are_weighted_by_batch_size() -> None:
    for of_rank in on_ranks(2):
        assert of_rank["unequal"] == {"mean": 0.75, "mean_step": 0.75, "mean_epoch": 0.75}


def test_step_values_of_an_evaluation_are_sent_for_batches_that_all_ranks_have() -> None:
    assert on_ranks(2)[0]["sized steps"] == [
        (0, {"x": 0.5, "own": 0.0}),
        (1, {"x": 2.5, "own": 1.0}),
        (2, {"own": 2.0}),
    ]


def test_step_values_of_a_stream_are_those_of_rank_zero() -> None:
    assert on_ranks(2)[0]["unsized steps"] == [
        (0, {"x": 0.0, "own": 0.0}),
        (1, {"x": 2.0, "own": 1.0}),
        (2, {"x": 4.0, "own": 2.0}),
    ]


@pytest.mark.parametrize(("stage", "steps"), [("fit", 2), ("validate", 0), ("validate by step", 0)])
def test_names_that_differ_raise_at_the_flush_naming_them_and_the_ranks(stage: str, steps: int) -> None:
    for said in run_in_processes(log_other_names, stage):
        assert said.startswith(f"after {steps} steps: ")
        assert "Ranks logged different names: `mine` only on ranks [1]" in said


def test_ranks_validate_to_the_end_when_one_is_told_to_end_and_then_end_together() -> None:
    first, second = run_in_processes(end_in_validation)
    assert first == second
    num_batches, steps = first
    assert num_batches == 4
    assert steps in (2, 3)  # at that boundary or the one after it
