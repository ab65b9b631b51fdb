import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Keeper, Net, fit, rows, trainer_with

from lt_core.checkpointing.ckpt_path import CheckpointPlaces, resolve_ckpt_path
from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_interfaces.states import TrainerFn


def resolve(given: Any, *callbacks: Any, fn: TrainerFn = TrainerFn.FITTING, **facts: Any) -> Any:
    root = facts.pop("default_root_dir", "")
    places = CheckpointPlaces(LocalCheckpointIO(), list(callbacks), root)
    return resolve_ckpt_path(given, fn, places=places, **{"has_model": True, "fast_dev_run": False, **facts})


def write(path: Path, age: int = 0) -> Path:
    torch.save({"state_dict": {}}, path)
    os.utime(path, (1000 - age, 1000 - age))
    return path


# --- nothing given ---


@pytest.mark.parametrize("fn", list(TrainerFn))
def test_nothing_is_loaded_where_a_model_is_given(fn: TrainerFn) -> None:
    assert resolve(None, Keeper("best.ckpt"), fn=fn) is None


def test_fitting_loads_nothing_unasked() -> None:
    assert resolve(None, Keeper("best.ckpt"), has_model=False) is None


@pytest.mark.parametrize("fn", [TrainerFn.VALIDATING, TrainerFn.TESTING, TrainerFn.PREDICTING])
def test_best_is_evaluated_where_no_model_is_given_and_said(fn: TrainerFn) -> None:
    with pytest.warns(UserWarning, match="ckpt_path='best'"):
        assert resolve(None, Keeper("best.ckpt"), fn=fn, has_model=False) == "best.ckpt"


# --- paths ---


def test_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve("some/where.ckpt") == "some/where.ckpt"
    assert resolve(tmp_path / "x.ckpt") == str(tmp_path / "x.ckpt")


def test_empty_path_is_refused() -> None:
    with pytest.raises(ValueError, match="`ckpt_path` is empty"):
        resolve("")


def test_missing_file_is_found_out_before_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.ckpt"):
        fit(tmp_path, Net(), ckpt_path=tmp_path / "gone.ckpt")


# --- best ---


def test_best_is_that_of_the_first_checkpoint_callback() -> None:
    assert resolve("best", Keeper("a.ckpt")) == "a.ckpt"
    with pytest.warns(UserWarning, match="several"):
        assert resolve("best", Keeper("a.ckpt"), Keeper("b.ckpt")) == "a.ckpt"


def test_best_needs_a_checkpoint_callback_that_saved_one() -> None:
    with pytest.raises(ValueError, match="needs a checkpoint callback"):
        resolve("best")
    with pytest.raises(ValueError, match="no best checkpoint"):
        resolve("best", Keeper())
    with pytest.raises(ValueError, match="fast_dev_run"):
        resolve("best", Keeper(), fast_dev_run=True)


# --- last ---


def test_last_is_the_newest_of_all_folders(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    write(one / "last.ckpt", age=2)
    newest = write(other / "last-v1.ckpt", age=1)
    write(other / "last-v2.ckpt", age=3)
    write(other / "lastly.ckpt")
    write(other / "epoch=1.ckpt")
    assert resolve("last", Keeper(dirpath=one), Keeper(dirpath=other)) == str(newest)


def test_torn_last_is_skipped_and_said(tmp_path: Path) -> None:
    whole, torn = write(tmp_path / "last.ckpt", age=5), write(tmp_path / "last-v1.ckpt")
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"last-v1\.ckpt isn't a whole checkpoint"):
        assert resolve("last", Keeper(dirpath=tmp_path)) == str(whole)


def test_newest_whole_checkpoint_stands_in_where_none_is_called_last(tmp_path: Path) -> None:
    write(tmp_path / "epoch=0.ckpt", age=5)
    newest = write(tmp_path / "epoch=1.ckpt", age=2)
    torn = write(tmp_path / "epoch=2.ckpt")
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"epoch=2\.ckpt isn't a whole checkpoint"):
        assert resolve("last", Keeper(dirpath=tmp_path)) == str(newest)


def test_only_torn_ones_are_an_error(tmp_path: Path) -> None:
    torn = write(tmp_path / "last.ckpt")
    torn.write_bytes(torn.read_bytes()[:100])
    with (
        pytest.warns(UserWarning, match="isn't a whole"),
        pytest.raises(ValueError, match="no whole checkpoint"),
    ):
        resolve("last", Keeper(dirpath=tmp_path))


def test_first_fit_without_last_starts_anew_and_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=str(tmp_path)):
        assert resolve("last", Keeper(dirpath=tmp_path)) is None


def test_evaluation_without_last_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no whole checkpoint"):
        resolve("last", Keeper(dirpath=tmp_path / "not there"), fn=TrainerFn.TESTING)


# --- a failed run ---


class Rescuer(Keeper):
    """Stands for a callback that saves failed runs."""

    saves_failures = True

    def __init__(self, dirpath: Path) -> None:
        super().__init__(dirpath=dirpath)
        self.ckpt_path = str(dirpath / "failed.ckpt")


def test_fitting_goes_on_from_a_failed_run_unasked(tmp_path: Path) -> None:
    failed = write(tmp_path / "failed.ckpt")
    assert resolve(None, Rescuer(tmp_path)) == str(failed)
    assert resolve(None, Keeper(dirpath=tmp_path)) is None
    assert resolve("other.ckpt", Rescuer(tmp_path)) == "other.ckpt"


def test_the_checkpoint_of_a_run_that_was_told_to_end_is_taken_if_it_is_newer(tmp_path: Path) -> None:
    write(tmp_path / "failed.ckpt", age=5)
    preempted = write(tmp_path / "preempted.ckpt")
    assert resolve(None, Rescuer(tmp_path)) == str(preempted)


def test_what_a_complete_run_leaves_is_not_gone_on_from_unasked(tmp_path: Path) -> None:
    write(tmp_path / "last.ckpt")
    write(tmp_path / "preempted.ckpt")  # of an earlier run, which this one went on from
    write(tmp_path / "epoch=1.ckpt")
    assert resolve(None, Rescuer(tmp_path)) is None


@pytest.mark.parametrize(("age", "newest"), [(1, "last.ckpt"), (9, "failed.ckpt")])
def test_the_newest_of_a_failed_runs_checkpoint_and_the_last_ones_is_taken(
    age: int, newest: str, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    write(one / "failed.ckpt", age=5)
    write(other / "last.ckpt", age=age)
    write(other / "epoch=1.ckpt")
    for given in (None, "last"):
        assert Path(resolve(given, Rescuer(one), Keeper(dirpath=other))).name == newest


@pytest.mark.parametrize("fn", [TrainerFn.VALIDATING, TrainerFn.TESTING, TrainerFn.PREDICTING])
def test_evaluation_does_not_take_a_failed_runs_checkpoint_unasked(fn: TrainerFn, tmp_path: Path) -> None:
    write(tmp_path / "failed.ckpt")
    assert resolve(None, Rescuer(tmp_path), fn=fn) is None


def test_a_trial_of_the_code_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "failed.ckpt")
    assert resolve(None, Rescuer(tmp_path), fast_dev_run=True) is None


def test_a_torn_checkpoint_of_a_failed_run_is_skipped_and_said(tmp_path: Path) -> None:
    torn = write(tmp_path / "failed.ckpt")
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"failed\.ckpt isn't a whole checkpoint"):
        assert resolve(None, Rescuer(tmp_path)) is None


def test_who_saves_failed_runs_has_no_best(tmp_path: Path) -> None:
    assert resolve("best", Rescuer(tmp_path), Keeper("a.ckpt")) == "a.ckpt"
    with pytest.raises(ValueError, match="needs a checkpoint callback"):
        resolve("best", Rescuer(tmp_path))


# --- hpc ---


def test_hpc_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        write(tmp_path / f"hpc_ckpt_{number}.ckpt")
    write(tmp_path / "hpc_ckpt_x.ckpt")
    assert resolve("hpc", default_root_dir=str(tmp_path)) == str(tmp_path / "hpc_ckpt_10.ckpt")


def test_torn_hpc_is_skipped_and_said(tmp_path: Path) -> None:
    whole, torn = write(tmp_path / "hpc_ckpt_1.ckpt"), write(tmp_path / "hpc_ckpt_2.ckpt")
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"hpc_ckpt_2\.ckpt isn't a whole checkpoint"):
        assert resolve("hpc", default_root_dir=str(tmp_path)) == str(whole)


def test_hpc_without_any_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hpc_ckpt"):
        resolve("hpc", default_root_dir=str(tmp_path))


# --- the Trainer's ---


def test_path_set_on_the_trainer_counts_for_the_calls_that_follow(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    trained = Net()
    fit(tmp_path, trained).save_checkpoint(path)
    trainer = trainer_with(tmp_path)
    trainer.ckpt_path = path
    for _ in range(2):
        net = Net()
        trainer.validate(net, rows(1), verbose=False)
        assert torch.equal(net.weights, trained.weights)


def test_path_set_on_the_trainer_can_be_read_back(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net())
    trainer.ckpt_path = "x.ckpt"
    assert trainer.ckpt_path == "x.ckpt"


def test_path_of_the_call_wins_over_that_of_the_trainer_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net()).save_checkpoint(path)
    trainer = trainer_with(tmp_path)
    trainer.ckpt_path = "gone.ckpt"
    with pytest.warns(UserWarning, match="ckpt_path"):
        trainer.validate(Net(), rows(1), ckpt_path=path, verbose=False)


def test_path_of_a_call_is_shown_and_not_used_again(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net()).save_checkpoint(path)
    trainer, net = trainer_with(tmp_path), Net()
    trainer.validate(Net(), rows(1), ckpt_path=path, verbose=False)
    assert trainer.ckpt_path == str(path)
    before = net.weights
    trainer.validate(net, rows(1), verbose=False)
    assert torch.equal(net.weights, before)
    assert trainer.ckpt_path is None


def test_best_is_evaluated_after_a_fit(tmp_path: Path) -> None:
    keeper = Keeper()
    trainer = trainer_with(tmp_path, keeper, limit_val_batches=0, enable_checkpointing=None)
    net = Net()
    trainer.fit(net, rows())
    keeper.best_model_path = str(tmp_path / "best.ckpt")
    trainer.save_checkpoint(keeper.best_model_path)
    best = net.weights
    torch.nn.init.zeros_(net.layer.weight)
    trainer.test(ckpt_path="best", dataloaders=rows(1), verbose=False)
    assert torch.equal(net.weights, best)
