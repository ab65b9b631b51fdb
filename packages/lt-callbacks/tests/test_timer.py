from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lt_callbacks import Timer
from lt_callbacks.durations import parse_duration
from lt_interfaces.errors import MisconfigurationException

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


@pytest.mark.parametrize("duration", ["00:00:01:30", timedelta(seconds=90), {"minutes": 1, "seconds": 30}])
def test_the_forms_of_a_duration_are_equal(duration: Any) -> None:
    assert Timer(duration).time_remaining() == 90.0


@pytest.mark.parametrize("duration", ["01:30", "1:2:3:4", 90, {"fortnights": 1}])
def test_other_forms_are_refused_by_name(duration: Any) -> None:
    with pytest.raises(MisconfigurationException, match="`duration"):
        parse_duration(duration)


def test_another_interval_is_refused_by_name() -> None:
    with pytest.raises(MisconfigurationException, match="`interval` must be 'step' or 'epoch', not 'steps'"):
        Timer(interval="steps")


@pytest.mark.parametrize(("interval", "steps"), [("step", 1), ("epoch", 5)])
def test_training_stops_when_the_time_is_up(new_run: NewRun, interval: str, steps: int) -> None:
    timer = Timer(timedelta(microseconds=1), interval=interval)
    run = new_run()
    run.callbacks = [timer]
    run.fit(epochs=3, batches=5)
    assert run.global_step == steps
    assert "the time is up" in run.stop_reasons[0]


def test_without_a_limit_it_only_measures(new_run: NewRun) -> None:
    timer = Timer()
    run = new_run(timer, num_val_batches=[1]).fit()
    assert not run.should_stop
    assert timer.time_remaining() is None
    assert timer.time_elapsed() == (timer.end_time() or 0) - (timer.start_time() or 0) > 0
    assert 0 < timer.time_elapsed("validate") < timer.time_elapsed()
    assert timer.time_elapsed("test") == 0


def test_a_resumed_run_counts_on_from_the_training_time_before() -> None:
    timer = Timer(timedelta(seconds=100))
    timer.load_state_dict({"time_elapsed": {"train": 60.0, "validate": 7.0}})
    assert timer.time_remaining() == 40.0
    assert timer.time_elapsed("validate") == 0
    assert timer.state_dict()["time_elapsed"]["train"] == 60.0


def test_a_resumed_run_whose_time_is_up_stops_before_its_first_batch(new_run: NewRun) -> None:
    timer = Timer(timedelta(seconds=10), verbose=False)
    timer.load_state_dict({"time_elapsed": {"train": 11.0}})
    assert new_run(timer).fit().global_step == 0


def test_the_limit_can_be_set_and_lifted_later() -> None:
    timer = Timer()
    timer.set_duration("00:00:00:05")
    assert timer.time_remaining() == 5.0
    timer.set_duration(None)
    assert timer.time_remaining() is None


def test_a_stage_it_does_not_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="`stage` must be one of"):
        Timer().time_elapsed("predict")
