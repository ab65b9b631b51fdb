from collections.abc import Callable
from typing import Any

import pytest

from lt_callbacks import ProgressBar
from lt_interfaces.roles import Role

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


@pytest.mark.parametrize(("version", "shown"), [(3, 3), ("run-2024-abcd", "abcd"), (None, None)])
def test_the_loggers_version_stands_beside_the_metrics(new_run: NewRun, journal: Any, version: Any, shown: Any) -> None:
    journal._version = version
    run = new_run(loggers=[journal], shown={"loss": 0.5})
    expected = {"loss": 0.5} if shown is None else {"v_num": shown, "loss": 0.5}
    assert ProgressBar().get_metrics(run, run.module) == expected


def test_a_metric_that_hides_the_version_is_told(new_run: NewRun, journal: Any) -> None:
    run = new_run(loggers=[journal], shown={"v_num": 0.5})
    with pytest.warns(UserWarning, match="`v_num` was logged"):
        assert ProgressBar().get_metrics(run, run.module) == {"v_num": 0.5}


def test_it_can_be_switched_off_and_on() -> None:
    bar = ProgressBar()
    bar.disable()
    assert bar.is_disabled
    bar.enable()
    assert bar.is_enabled
    assert bar.role is Role.PROGRESS


def test_it_is_off_but_on_rank_zero(new_run: NewRun) -> None:
    bar = ProgressBar()
    new_run(bar, global_rank=1).begin()
    assert bar.is_disabled
