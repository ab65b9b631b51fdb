from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_callbacks import LambdaCallback, OnExceptionCheckpoint

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def fail(run: Any, *, stage: str = "fit", started: bool = True) -> None:
    run.tell("setup", stage)
    if started:
        run.tell("on_train_start")
    run.global_step = 3
    run.tell("on_exception", RuntimeError())
    run.tell("teardown", stage)


def test_a_failed_run_leaves_one_checkpoint(new_run: NewRun, tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path)
    fail(new_run(callback))
    assert [path.name for path in tmp_path.iterdir()] == ["on_exception.ckpt"]
    assert callback.last_model_path == callback.ckpt_path == str(tmp_path / "on_exception.ckpt")
    assert torch.load(callback.ckpt_path, weights_only=True)["global_step"] == 3


def test_its_name_can_be_given(new_run: NewRun, tmp_path: Path) -> None:
    fail(new_run(OnExceptionCheckpoint(str(tmp_path), "oops")))
    assert (tmp_path / "oops.ckpt").exists()


def test_a_url_may_be_its_folder() -> None:
    assert OnExceptionCheckpoint("s3://bucket/run/").ckpt_path == "s3://bucket/run/on_exception.ckpt"


def test_a_run_that_comes_to_its_end_removes_it(new_run: NewRun, tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path)
    fail(new_run(callback))
    run = new_run(callback).fit()
    assert run.removed == [callback.ckpt_path]
    assert list(tmp_path.iterdir()) == []
    assert callback.last_model_path == ""


def test_what_fails_before_training_leaves_the_checkpoint_of_the_run_before(new_run: NewRun, tmp_path: Path) -> None:
    fail(new_run(OnExceptionCheckpoint(tmp_path)))
    before = (tmp_path / "on_exception.ckpt").read_bytes()
    fail(new_run(OnExceptionCheckpoint(tmp_path), global_step=0), started=False)
    assert (tmp_path / "on_exception.ckpt").read_bytes() == before


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_nothing_but_fitting_touches_it(stage: str, new_run: NewRun, tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path)
    fail(new_run(callback), stage=stage, started=False)
    assert list(tmp_path.iterdir()) == []
    fail(new_run(callback))
    run = new_run(callback)
    for hook in ("setup", "teardown"):
        run.tell(hook, stage)
    assert run.removed == []


def test_a_trial_of_the_code_neither_saves_nor_removes(new_run: NewRun, tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path)
    fail(new_run(callback, fast_dev_run=1))
    assert list(tmp_path.iterdir()) == []
    fail(new_run(callback))
    assert new_run(callback, fast_dev_run=1).fit().removed == []


def test_several_processes_are_told_that_nothing_is_saved(new_run: NewRun, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="saves nothing in a job of several processes"):
        fail(new_run(OnExceptionCheckpoint(tmp_path), world_size=2))
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_no_name(new_run: NewRun, tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path)
    with pytest.raises(OSError, match="disk full"):
        fail(new_run(callback, fail_save=True))
    assert callback.last_model_path == ""


def test_other_callbacks_states_are_in_it(new_run: NewRun, tmp_path: Path) -> None:
    class Stateful(LambdaCallback):
        def state_dict(self) -> dict[str, Any]:
            return {"seen": 1}

    callback = OnExceptionCheckpoint(tmp_path)
    fail(new_run(Stateful(), callback))
    states = torch.load(callback.ckpt_path, weights_only=True)["callbacks"]
    assert {"seen": 1} in states.values()


@pytest.mark.parametrize("filename", ["", None])
def test_an_empty_name_is_refused(filename: Any) -> None:
    with pytest.raises(ValueError, match="`filename` must be the name of a file"):
        OnExceptionCheckpoint("folder", filename)
