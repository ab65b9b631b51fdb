import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_core.specs.evaluation import resolve_evaluation
from lt_core.specs.validation_schedule import ValidationSchedule, plan_validation
from lt_interfaces.errors import MisconfigurationException


def positions(schedule: ValidationSchedule, *, epochs: int, batches: int = 10) -> list[tuple[int, int]]:
    """Walk through a training and return where validation runs, as (epoch, batch)."""
    return [
        (epoch, batch)
        for epoch in range(epochs)
        for batch in range(batches)
        if schedule.is_due(
            epoch,
            batch,
            total_batch_idx=epoch * batches + batch,
            is_last_batch=batch == batches - 1,
            stopping=False,
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "epochs", "observed"),
    [
        ({}, 2, [(0, 9), (1, 9)]),
        ({"val_check_interval": 0.25}, 1, [(0, 1), (0, 3), (0, 5), (0, 7), (0, 9)]),
        ({"val_check_interval": 3}, 2, [(0, 2), (0, 5), (0, 8), (1, 2), (1, 5), (1, 8)]),
        (
            {"val_check_interval": 3, "check_val_every_n_epoch": None},
            2,
            [(0, 2), (0, 5), (0, 8), (1, 1), (1, 4), (1, 7)],
        ),
        ({"val_check_interval": 15, "check_val_every_n_epoch": None}, 3, [(1, 4), (2, 9)]),
        ({"check_val_every_n_epoch": 2}, 4, [(1, 9), (3, 9)]),
        ({"val_check_interval": 0.01}, 1, [(0, batch) for batch in range(10)]),
        ({"check_val_every_n_epoch": None}, 2, [(0, 9), (1, 9)]),
    ],
)
def test_validation_runs_where_it_was_observed(
    arguments: dict[str, Any], epochs: int, observed: list[tuple[int, int]]
) -> None:
    schedule = plan_validation(resolve_evaluation(**arguments), 10, has_length=True)
    assert positions(schedule, epochs=epochs) == observed


def test_data_without_length_is_validated_after_its_last_batch_wherever_that_is() -> None:
    schedule = plan_validation(resolve_evaluation(), math.inf, has_length=False)
    assert positions(schedule, epochs=2, batches=7) == [(0, 6), (1, 6)]


def test_a_limit_isnt_taken_for_the_length_of_data_without_one() -> None:
    schedule = plan_validation(resolve_evaluation(), 10, has_length=False)
    assert positions(schedule, epochs=1, batches=7) == [(0, 6)]


def test_data_without_length_takes_a_number_of_batches() -> None:
    schedule = plan_validation(resolve_evaluation(val_check_interval=4), math.inf, has_length=False)
    assert positions(schedule, epochs=1, batches=10) == [(0, 3), (0, 7)]


@pytest.mark.parametrize("num_batches", [math.inf, 10])
def test_data_without_length_has_no_fractions(num_batches: float) -> None:
    with pytest.raises(MisconfigurationException, match=r"`val_check_interval` must be 1.0, a number .* but got 0.5"):
        plan_validation(resolve_evaluation(val_check_interval=0.5), num_batches, has_length=False)


def test_an_interval_longer_than_an_epoch_is_refused() -> None:
    spec = resolve_evaluation(val_check_interval=11)
    with pytest.raises(ValueError, match=r"`val_check_interval` must be at most .* 10, but got 11.*=None"):
        plan_validation(spec, 10, has_length=True)


def test_an_interval_longer_than_an_epoch_does_no_harm_without_validation() -> None:
    plan_validation(resolve_evaluation(val_check_interval=11), 10, has_length=True, has_validation=False)


def test_a_stop_is_preceded_by_one_validation_in_epochs_that_have_any() -> None:
    schedule = plan_validation(resolve_evaluation(check_val_every_n_epoch=2), 10, has_length=True)
    assert not schedule.is_due(0, 2, total_batch_idx=2, is_last_batch=False, stopping=True)
    assert schedule.is_due(1, 2, total_batch_idx=12, is_last_batch=False, stopping=True)


@pytest.mark.parametrize(("seconds", "is_last_batch", "due"), [(59.9, True, False), (60.0, False, True)])
def test_time_alone_decides_once_an_interval_is_a_time(seconds: float, is_last_batch: bool, due: bool) -> None:
    schedule = plan_validation(resolve_evaluation(val_check_interval=timedelta(minutes=1)), 10, has_length=True)
    found = schedule.is_due(
        0,
        9,
        total_batch_idx=9,
        is_last_batch=is_last_batch,
        stopping=False,
        seconds_since_validation=seconds,
    )
    assert found is due


def test_an_elapsed_time_waits_for_the_next_epoch_with_validation() -> None:
    spec = resolve_evaluation(val_check_interval=timedelta(minutes=1), check_val_every_n_epoch=3)
    schedule = plan_validation(spec, 10, has_length=True)
    due = [
        schedule.is_due(
            epoch,
            0,
            total_batch_idx=10 * epoch,
            is_last_batch=False,
            stopping=False,
            seconds_since_validation=90,
        )
        for epoch in range(3)
    ]
    assert due == [False, False, True]


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 4))
def test_counting_across_epochs_runs_once_per_interval(interval: int, batches: int, epochs: int) -> None:
    spec = resolve_evaluation(val_check_interval=interval, check_val_every_n_epoch=None)
    schedule = plan_validation(spec, batches, has_length=True)
    assert len(positions(schedule, epochs=epochs, batches=batches)) == epochs * batches // interval


@given(st.floats(0.01, 1), st.integers(1, 40))
def test_a_fraction_validates_at_least_once_per_epoch(fraction: float, batches: int) -> None:
    schedule = plan_validation(resolve_evaluation(val_check_interval=fraction), batches, has_length=True)
    assert positions(schedule, epochs=1, batches=batches)
