import logging
from datetime import timedelta
from typing import Any

import pytest

from lt_core.specs.limits import LimitsSpec, resolve_epochs, resolve_limits
from lt_interfaces.errors import MisconfigurationException, PossibleUserWarning


def batches_of(spec: LimitsSpec) -> tuple[int | float, int | float, int | float, int | float]:
    """Return the limits for train, validation, test and predict."""
    return spec.limit_train_batches, spec.limit_val_batches, spec.limit_test_batches, spec.limit_predict_batches


def test_by_default_nothing_is_limited_and_epochs_are_left_open() -> None:
    spec = resolve_limits()
    assert batches_of(spec) == (1.0, 1.0, 1.0, 1.0)
    assert (spec.max_epochs, spec.min_epochs, spec.max_steps, spec.min_steps) == (None, None, -1, None)
    assert (spec.max_time, spec.fast_dev_run, spec.overfit_batches) == (None, False, 0.0)


def test_a_fast_dev_run_limits_everything() -> None:
    spec = resolve_limits(fast_dev_run=2, max_epochs=30, max_steps=900, min_steps=500, limit_val_batches=0.5)
    assert batches_of(spec) == (2, 2, 2, 2)
    assert (spec.max_epochs, spec.max_steps) == (1, 2)


def test_fast_dev_run_of_one_is_true_and_of_zero_false() -> None:
    assert resolve_limits(fast_dev_run=1).fast_dev_run is True
    assert resolve_limits(fast_dev_run=0).fast_dev_run is False
    assert resolve_limits(fast_dev_run=True).max_steps == 1


def test_overfitting_limits_train_and_validation_alike() -> None:
    spec = resolve_limits(overfit_batches=3, limit_train_batches=7)
    assert batches_of(spec) == (3, 3, 1.0, 1.0)


def test_overfitting_goes_before_a_fast_dev_run() -> None:
    assert batches_of(resolve_limits(overfit_batches=0.25, fast_dev_run=2)) == (0.25, 0.25, 2, 2)


@pytest.mark.parametrize(("given", "said"), [(1, "means 1 batch"), (1.0, "means all batches")])
def test_one_and_one_point_zero_are_told_apart(given: float, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        resolve_limits(limit_test_batches=given)
    assert said in caplog.text
    assert "`limit_test_batches=1" in caplog.text


def test_defaults_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        resolve_limits()
    assert not caplog.text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"min_epochs": 3, "max_epochs": 2}, "min_epochs"),
        ({"min_epochs": 1, "max_epochs": 0}, "min_epochs"),
        ({"min_steps": 8, "max_steps": 7}, "min_steps"),
    ],
)
def test_a_minimum_above_its_maximum_is_refused(arguments: dict[str, Any], named: str) -> None:
    maximum = named.replace("min", "max")
    with pytest.raises(MisconfigurationException, match=f"`{named}` must be at most `{maximum}`, which is"):
        resolve_limits(**arguments)


def test_minima_fit_below_no_limit_and_beside_the_other_kind() -> None:
    resolve_limits(min_epochs=3, max_epochs=-1)
    resolve_limits(min_epochs=3)
    resolve_limits(min_steps=15, max_epochs=1)


@pytest.mark.parametrize(
    ("arguments", "has_timer", "epochs"),
    [
        ({"max_epochs": 3}, False, (3, 0)),
        ({"max_epochs": 0}, False, (0, 0)),
        ({"max_epochs": -1}, False, (-1, 0)),
        ({"max_steps": 7}, False, (-1, 0)),
        ({"max_steps": 0}, False, (-1, 0)),
        ({"max_time": timedelta(hours=1)}, False, (-1, 0)),
        ({}, True, (-1, 0)),
        ({"max_steps": 7, "min_steps": 3}, False, (-1, 1)),
        ({"max_epochs": 5, "min_steps": 3, "min_epochs": 2}, False, (5, 2)),
        ({"fast_dev_run": True}, False, (1, 0)),
    ],
)
def test_epochs_are_settled_by_what_else_ends_the_run(
    arguments: dict[str, Any], has_timer: bool, epochs: tuple[int, int]
) -> None:
    assert resolve_epochs(resolve_limits(**arguments), has_timer) == epochs


def test_without_any_limit_training_ends_after_1000_epochs_with_a_warning() -> None:
    with pytest.warns(PossibleUserWarning, match="`max_epochs` was not set"):
        assert resolve_epochs(resolve_limits(), has_timer=False) == (1000, 0)


def test_the_default_of_1000_epochs_makes_room_for_a_larger_minimum() -> None:
    with pytest.warns(PossibleUserWarning, match="ends after 2000 epochs"):
        assert resolve_epochs(resolve_limits(min_epochs=2000), has_timer=False) == (2000, 2000)
