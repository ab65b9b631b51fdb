import pickle
from collections.abc import Callable
from typing import Any

import pytest

from lt_callbacks import ProgressBar, RichProgressBar
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


def test_it_can_be_switched_by_assigning_too() -> None:
    bar = ProgressBar()
    bar.is_enabled = False
    assert bar.is_disabled


def test_it_counts_the_batches_of_the_loaders_that_go_on(new_run: NewRun) -> None:
    bar = ProgressBar()
    run = new_run(bar, num_training_batches=7, num_val_batches=[2, 3], check_val_every_n_epoch=2)
    run.num_sanity_val_batches = [1, 1]
    bar.setup(run, run.module, "fit")
    assert (bar.trainer, bar.total_train_batches, bar.total_val_batches) == (run, 7, 0)
    run.current_epoch = 1
    assert bar.total_val_batches == 5
    assert [bar.has_dataloader_changed(loader) for loader in (0, 0, 1)] == [True, False, True]
    assert bar.total_val_batches_current_dataloader == 3
    run.num_test_batches, run.num_predict_batches = [4, 5], [6]
    assert bar.total_test_batches_current_dataloader == 5
    assert bar.total_predict_batches_current_dataloader == float("inf")
    bar.reset_dataloader_idx_tracker()
    assert bar.has_dataloader_changed(1)


def test_before_a_run_it_says_that_there_is_none() -> None:
    with pytest.raises(TypeError, match=r"`ProgressBar\.trainer` is known once a run has begun"):
        _ = ProgressBar().trainer


def test_it_can_be_pickled_after_a_run_and_leaves_the_run_out(new_run: NewRun) -> None:
    bar, run = RichProgressBar(refresh_rate=3), new_run()
    run.cannot_be_pickled = lambda: None
    bar.setup(run, run.module, "fit")
    bar.teardown(run, run.module, "fit")
    copied = pickle.loads(pickle.dumps(bar))
    assert copied.refresh_rate == 3
    with pytest.raises(TypeError, match="once a run has begun"):
        _ = copied.trainer
    assert bar.trainer is run


def test_a_bar_that_forgets_to_call_its_base_works(new_run: NewRun) -> None:
    class Forgetful(ProgressBar):
        def __init__(self) -> None:
            self.seen: list[int | float] = []

        def on_train_batch_end(self, *args: Any) -> None:
            self.seen.append(self.total_train_batches)

    bar = Forgetful()
    new_run(bar).fit(epochs=1, batches=2)
    assert (bar.seen, bar.is_enabled) == ([2, 2], True)


def test_it_is_off_but_on_rank_zero(new_run: NewRun) -> None:
    bar = ProgressBar()
    new_run(bar, global_rank=1).begin()
    assert bar.is_disabled
