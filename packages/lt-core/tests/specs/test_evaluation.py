import math
from datetime import timedelta

import pytest

from lt_core.specs.evaluation import resolve_evaluation
from lt_interfaces.errors import MisconfigurationException


def test_by_default_validation_runs_after_each_epoch_and_is_tried_for_two_batches_before() -> None:
    spec = resolve_evaluation()
    assert spec.val_check_interval == 1.0
    assert isinstance(spec.val_check_interval, float)
    assert (spec.check_val_every_n_epoch, spec.num_sanity_val_steps, spec.inference_mode) == (1, 2, True)


@pytest.mark.parametrize(
    ("given", "interval"),
    [
        (3, 3),
        (0.25, 0.25),
        (2.0, 2),
        ("00:00:05:00", timedelta(minutes=5)),
        ({"minutes": 5}, timedelta(minutes=5)),
        (timedelta(minutes=5), timedelta(minutes=5)),
    ],
)
def test_an_interval_is_a_count_a_fraction_or_a_time(given: object, interval: object) -> None:
    resolved = resolve_evaluation(val_check_interval=given).val_check_interval
    assert resolved == interval
    assert type(resolved) is type(interval)


def test_a_sanity_check_of_minus_one_takes_all_batches() -> None:
    assert resolve_evaluation(num_sanity_val_steps=-1).num_sanity_val_steps == math.inf


def test_a_fraction_of_an_epoch_cant_be_counted_across_epochs() -> None:
    with pytest.raises(MisconfigurationException, match="`val_check_interval` must be a number of batches or a dur"):
        resolve_evaluation(val_check_interval=0.5, check_val_every_n_epoch=None)


@pytest.mark.parametrize("interval", [15, timedelta(hours=1), None])
def test_counts_and_times_go_across_epochs(interval: object) -> None:
    spec = resolve_evaluation(val_check_interval=interval, check_val_every_n_epoch=None)
    assert spec.check_val_every_n_epoch is None


@pytest.mark.parametrize("interval", [0, 0.0])
def test_an_interval_of_zero_is_told_how_to_switch_validation_off(interval: float) -> None:
    with pytest.raises(MisconfigurationException, match="limit_val_batches=0"):
        resolve_evaluation(val_check_interval=interval)
