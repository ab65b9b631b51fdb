import copy
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lt_callbacks import ModelCheckpoint
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import RunningStage, TrainerFn

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


pytestmark = pytest.mark.filterwarnings("ignore:The folder of checkpoints")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def by_epoch(name: str, *values: float) -> Callable[[Any], Mapping[str, float]]:
    return lambda run: {name: values[run.current_epoch]}


def state_in(path: Path | str) -> dict[str, Any]:
    states: dict[str, dict[str, Any]] = torch.load(path, weights_only=True)["callbacks"]
    return next(state for key, state in states.items() if key.startswith("ModelCheckpoint"))


# --- which moments, which names ---


def test_by_default_only_the_newest_epoch_is_kept(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint()
    new_run(checkpoint).fit(epochs=3)
    assert files(tmp_path / "checkpoints") == ["epoch=2-step=30.ckpt"]
    assert checkpoint.best_model_path == str(tmp_path / "checkpoints" / "epoch=2-step=30.ckpt")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["epoch=0-step=10", "epoch=1-step=20", "epoch=2-step=30"]),
        ({"every_n_train_steps": 7}, ["epoch=0-step=7", "epoch=1-step=14", "epoch=2-step=21", "epoch=2-step=28"]),
        ({"every_n_epochs": 2}, ["epoch=1-step=20"]),
        ({"every_n_epochs": 0}, []),
    ],
)
def test_triggers_with_all_kept(
    new_run: NewRun, tmp_path: Path, arguments: dict[str, Any], expected: list[str]
) -> None:
    (tmp_path / "c").mkdir()
    new_run(ModelCheckpoint(tmp_path / "c", save_top_k=-1, **arguments)).fit(epochs=3)
    assert files(tmp_path / "c") == [f"{name}.ckpt" for name in expected]


@pytest.mark.parametrize("save_top_k", [-1, 1])
def test_a_fixed_name_is_overwritten(new_run: NewRun, tmp_path: Path, save_top_k: int) -> None:
    new_run(ModelCheckpoint(tmp_path / "c", filename="fixed", save_top_k=save_top_k)).fit(epochs=3)
    assert files(tmp_path / "c") == ["fixed.ckpt"]
    assert torch.load(tmp_path / "c" / "fixed.ckpt", weights_only=True)["global_step"] == 30


def test_runs_that_share_a_folder_get_versions_and_resume_their_own(new_run: NewRun, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    for _ in range(3):
        new_run(ModelCheckpoint(folder, save_last=True)).fit()
    first = ["epoch=0-step=10-v1.ckpt", "epoch=0-step=10-v2.ckpt", "epoch=0-step=10.ckpt"]
    last = ["last-v1.ckpt", "last-v2.ckpt", "last.ckpt"]
    assert files(folder) == [*first, *last]
    resumed = new_run(ModelCheckpoint(folder, save_last=True), ckpt_path=str(folder / "last-v2.ckpt"), current_epoch=1)
    resumed.fit(epochs=2)
    assert files(folder) == [first[0], first[2], "epoch=1-step=20.ckpt", *last]


def test_without_versions_names_are_overwritten(new_run: NewRun, tmp_path: Path) -> None:
    for _ in range(2):
        new_run(ModelCheckpoint(tmp_path / "c", enable_version_counter=False)).fit()
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt"]


def test_time_trigger_saves_after_a_batch_also_in_manual_optimization(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", train_time_interval=timedelta(microseconds=1), save_top_k=-1)
    run = new_run(checkpoint, steps_per_batch=2)
    run.module.automatic_optimization = False
    run.module.layer = run.module.saved_models = "left alone"
    run.fit(batches=3)
    assert files(tmp_path / "c") == ["epoch=0-step=2.ckpt", "epoch=0-step=4.ckpt", "epoch=0-step=6.ckpt"]
    assert run.module.layer == "left alone"


def test_accumulating_batches_do_not_repeat_a_save(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(ModelCheckpoint(tmp_path / "c", every_n_train_steps=2, save_top_k=-1), accumulate_grad_batches=3)
    run.fit(batches=12)
    assert files(tmp_path / "c") == ["epoch=0-step=2.ckpt", "epoch=0-step=4.ckpt"]


def test_several_steps_per_batch_do_not_miss_a_save(new_run: NewRun, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(tmp_path / "c", every_n_train_steps=5, save_top_k=-1), steps_per_batch=2).fit(batches=5)
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt", "epoch=0-step=6.ckpt"]


def test_the_name_takes_metrics(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", "m-{epoch:02d}-{val/loss:.3f}", auto_insert_metric_name=False)
    new_run(checkpoint, num_val_batches=[1], val_metrics=by_epoch("val/loss", 0.5, 0.25, 0.125)).fit(epochs=3)
    assert files(tmp_path / "c") == ["m-02-0.125.ckpt"]


def test_a_name_with_a_metric_that_was_never_logged_raises(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(ModelCheckpoint(tmp_path / "c", "{los:.2f}"), train_metrics=by_epoch("loss", 1.0))
    with pytest.raises(MisconfigurationException, match=r"`los`.*`loss`"):
        run.fit()


def test_nothing_is_saved_when_nothing_is_trained_for_real(new_run: NewRun, tmp_path: Path) -> None:
    for facts in ({"fast_dev_run": 1}, {"state": _validating()}):
        new_run(ModelCheckpoint(tmp_path / "c", save_last=True, save_on_exception=True), **facts).fit()
    assert not (tmp_path / "c").exists()


def _validating() -> Any:
    from lt_interfaces.states import TrainerState  # the stand-in's default is fitting

    return TrainerState(fn=TrainerFn.VALIDATING, stage=RunningStage.VALIDATING)


# --- the best ---


def test_the_k_best_are_kept(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="acc", mode="max", save_top_k=2)
    new_run(checkpoint, train_metrics=by_epoch("acc", 0.1, 0.4, 0.2, 0.3)).fit(epochs=4)
    assert files(tmp_path / "c") == ["epoch=1-step=20.ckpt", "epoch=3-step=40.ckpt"]
    assert checkpoint.best_model_path.endswith("epoch=1-step=20.ckpt")
    assert float(checkpoint.best_model_score or 0) == pytest.approx(0.4)
    assert checkpoint.kth_best_model_path.endswith("epoch=3-step=40.ckpt")
    assert float(checkpoint.kth_value) == pytest.approx(0.3)
    assert float(checkpoint.current_score or 0) == pytest.approx(0.3)


def test_last_is_refreshed_when_the_metric_does_not_improve(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="loss", save_last=True)
    new_run(checkpoint, train_metrics=by_epoch("loss", 0.1, 0.2, 0.3)).fit(epochs=3)
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "c" / "last.ckpt", weights_only=True)["global_step"] == 30


def test_last_alone_is_refreshed_at_every_epoch(new_run: NewRun, tmp_path: Path) -> None:
    seen = []

    class Look(ModelCheckpoint):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(os.path.exists(self.last_model_path))

    new_run(Look(tmp_path / "c", save_top_k=0, save_last=True)).fit(epochs=3)
    assert seen == [False, True, True]
    assert files(tmp_path / "c") == ["last.ckpt"]


def test_last_is_saved_at_the_end_when_nothing_was_due(new_run: NewRun, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(tmp_path / "c", every_n_train_steps=100, save_last=True)).fit()
    assert files(tmp_path / "c") == ["last.ckpt"]


def test_a_checkpoint_tells_of_itself(new_run: NewRun, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(tmp_path / "c", monitor="loss", save_last=True), train_metrics=by_epoch("loss", 0.1)).fit()
    best = str(tmp_path / "c" / "epoch=0-step=10.ckpt")
    state = state_in(best)
    assert state["best_model_path"] == best
    assert state["last_model_path"] == str(tmp_path / "c" / "last.ckpt")
    assert set(state) == {
        *("monitor", "best_model_score", "best_model_path", "current_score", "dirpath", "best_k_models"),
        *("kth_best_model_path", "kth_value", "last_model_path", "watch"),
    }


def test_the_displaced_file_is_there_until_its_successor_is(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="loss")
    run = new_run(checkpoint, train_metrics=by_epoch("loss", 0.3, 0.2)).fit()
    run.fail_save, run.should_stop = True, False
    with pytest.raises(OSError, match="disk full"):
        run.fit(epochs=2)
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt"]
    assert checkpoint.best_model_path.endswith("epoch=0-step=10.ckpt")
    assert list(checkpoint.best_k_models) == [checkpoint.best_model_path]


def test_a_metric_missing_after_validation_raises_and_lists_what_is_there(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(
        ModelCheckpoint(tmp_path / "c", monitor="val_los"), num_val_batches=[1], val_metrics=by_epoch("val_loss", 1.0)
    )
    with pytest.raises(MisconfigurationException, match=r"val_los.*Did you mean `val_loss`.*\['val_loss'\]"):
        run.fit()


def test_a_metric_missing_without_validation_warns_once(new_run: NewRun, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="found no such metric") as caught:
        new_run(ModelCheckpoint(tmp_path / "c", monitor="loss")).fit(epochs=3)
    assert len(caught) == 1


# --- batch triggers that wait for their metric ---


def test_a_save_due_before_its_metric_exists_waits_for_validation(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="vl", every_n_train_steps=3, save_top_k=-1)
    run = new_run(checkpoint, num_val_batches=[1], validate_each=5, val_check_interval=5)
    run.val_metrics = lambda run: {"vl": float(run.global_step)}
    run.fit()
    assert [Path(path).stem for path in checkpoint.best_k_models] == [
        "epoch=0-step=5",
        "epoch=0-step=6",
        "epoch=0-step=9",
    ]


def test_a_save_due_at_the_last_batch_waits_for_the_validation_after_it(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(
        tmp_path / "c", "{vl:.0f}", "vl", every_n_train_steps=10, save_top_k=-1, save_on_train_epoch_end=False
    )
    run = new_run(checkpoint, num_val_batches=[1], val_metrics=by_epoch("vl", 3.0, 2.0))
    run.fit(epochs=2)
    assert files(tmp_path / "c") == ["vl=2.ckpt", "vl=3.ckpt"]


def test_a_save_that_waits_for_a_training_metric_is_made_at_the_epochs_end(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="loss", every_n_train_steps=7)
    run = new_run(checkpoint, num_val_batches=[1], train_metrics=by_epoch("loss", 0.5))
    run.fit()
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt"]


def test_where_validation_runs_more_often_it_saves_after_each(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(
        ModelCheckpoint(tmp_path / "c", save_top_k=-1), num_val_batches=[1], val_check_interval=0.5, validate_each=5
    )
    run.fit()
    assert files(tmp_path / "c") == ["epoch=0-step=10.ckpt", "epoch=0-step=5.ckpt"]


def test_the_sanity_check_saves_nothing_and_counts_as_no_validation(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(ModelCheckpoint(tmp_path / "c", monitor="loss"), num_val_batches=[1])
    run.begin()
    run.tell("on_train_start")
    run.global_step = 1
    run.validate(RunningStage.SANITY_CHECKING)
    with pytest.warns(UserWarning, match="found no such metric"):
        run.tell("on_train_epoch_end")
    assert not (tmp_path / "c").exists()


# --- last as a link ---


def test_last_can_be_a_link_to_what_was_just_saved(new_run: NewRun, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(tmp_path / "c", save_last="link")).fit(epochs=2)
    last = tmp_path / "c" / "last.ckpt"
    assert os.readlink(last) == "epoch=1-step=20.ckpt"
    assert files(tmp_path / "c") == ["epoch=1-step=20.ckpt", "last.ckpt"]


def test_a_link_becomes_a_file_when_the_newest_is_not_among_the_best(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="loss", save_last="link")
    new_run(checkpoint, train_metrics=by_epoch("loss", 0.1, 0.2)).fit(epochs=2)
    last = tmp_path / "c" / "last.ckpt"
    assert not last.is_symlink()
    assert torch.load(last, weights_only=True)["global_step"] == 20
    assert torch.load(tmp_path / "c" / "epoch=0-step=10.ckpt", weights_only=True)["global_step"] == 10


def test_a_link_needs_a_local_folder(new_run: NewRun) -> None:
    with pytest.raises(ValueError, match="`save_last='link'` needs a local `dirpath`"):
        new_run(ModelCheckpoint("s3://bucket/run", save_last="link")).begin()


def test_a_link_points_to_nothing_that_is_not_there(new_run: NewRun, tmp_path: Path) -> None:
    """A save in the background may fail after it was asked for."""

    class Forgetful(ModelCheckpoint):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint = lambda *_, **__: None
            super().on_train_epoch_end(trainer, pl_module)

    new_run(Forgetful(tmp_path / "c", save_last="link")).fit()
    assert not (tmp_path / "c" / "last.ckpt").is_symlink()


def test_a_name_is_taken_by_what_is_still_being_written(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", filename="best", monitor="loss", save_top_k=2)
    run = new_run(checkpoint, train_metrics=by_epoch("loss", 0.2, 0.1))
    run.save_checkpoint = lambda *_, **__: None
    run.fit(epochs=2)
    assert [Path(path).name for path in checkpoint.best_k_models] == ["best.ckpt", "best-v1.ckpt"]


def test_the_list_of_the_best_is_never_written_to_a_url() -> None:
    with pytest.raises(ValueError, match="`filepath` must be local"):
        ModelCheckpoint("s3://bucket/run").to_yaml()


# --- failures ---


def test_a_failure_can_be_saved_once_per_step(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", every_n_epochs=5, save_on_exception=True)
    run = new_run(checkpoint)
    run.begin()
    run.tell("on_train_start")
    run.global_step = 4
    run.tell("on_exception", KeyboardInterrupt())
    run.tell("on_exception", KeyboardInterrupt())
    assert files(tmp_path / "c") == ["epoch=0-step=4.ckpt"]


def test_a_failure_is_saved_though_its_name_cannot_be_made(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(ModelCheckpoint(tmp_path / "c", "{loss:.2f}", save_on_exception=True))
    run.begin()
    run.global_step = 4
    with pytest.warns(UserWarning, match="gets the default name"):
        run.tell("on_exception", RuntimeError())
    assert files(tmp_path / "c") == ["epoch=0-step=4.ckpt"]


# --- folders ---


def test_the_default_folder_is_in_the_first_loggers_run(new_run: NewRun, journal: Any, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(), loggers=[journal]).fit()
    assert files(tmp_path / "journal" / "version_0" / "checkpoints") == ["epoch=0-step=10.ckpt"]


def test_loggers_hear_of_each_save(new_run: NewRun, journal: Any, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint()
    new_run(checkpoint, loggers=[journal]).fit(epochs=2)
    assert [Path(path).stem for path in journal.saved] == ["epoch=0-step=10", "epoch=1-step=20"]


def test_it_warns_of_a_folder_with_files(new_run: NewRun, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "somebody's").touch()
    with pytest.warns(UserWarning, match=r"isn't empty: a name that's taken gets a version"):
        new_run(ModelCheckpoint(tmp_path / "c")).begin()
    with pytest.warns(UserWarning, match=r"isn't empty: a name that's taken is overwritten"):
        new_run(ModelCheckpoint(tmp_path / "c", enable_version_counter=False)).begin()


def test_what_a_kill_left_behind_is_no_file_to_warn_of(new_run: NewRun, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".last.ckpt.0123.tmp").touch()
    new_run(ModelCheckpoint(tmp_path / "c")).begin()


def test_a_moved_folder_keeps_its_books(new_run: NewRun, tmp_path: Path) -> None:
    first = ModelCheckpoint(tmp_path / "old", monitor="loss", save_top_k=2, save_last=True)
    new_run(first, train_metrics=by_epoch("loss", 0.1, 0.3)).fit(epochs=2)
    shutil.move(tmp_path / "old", tmp_path / "new")
    second = ModelCheckpoint(tmp_path / "new", monitor="loss", save_top_k=2, save_last=True)
    run = new_run(second, ckpt_path=str(tmp_path / "new" / "last.ckpt"), current_epoch=2)
    run.train_metrics = by_epoch("loss", 0.1, 0.3, 0.2)
    run.fit(epochs=3)
    assert files(tmp_path / "new") == ["epoch=0-step=10.ckpt", "epoch=2-step=30.ckpt", "last.ckpt"]
    assert second.best_model_path == str(tmp_path / "new" / "epoch=0-step=10.ckpt")


def test_another_folder_keeps_the_old_runs_files_and_its_best(new_run: NewRun, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(tmp_path / "a", monitor="loss"), train_metrics=by_epoch("loss", 0.3)).fit()
    second = ModelCheckpoint(tmp_path / "b", monitor="loss")
    run = new_run(second, ckpt_path=str(tmp_path / "a" / "epoch=0-step=10.ckpt"), current_epoch=1)
    run.train_metrics = by_epoch("loss", 0.3, 0.4, 0.2)
    run.fit(epochs=3)
    assert files(tmp_path / "a") == ["epoch=0-step=10.ckpt"]
    assert files(tmp_path / "b") == ["epoch=2-step=30.ckpt"]


def test_what_the_run_was_resumed_from_is_not_deleted(new_run: NewRun, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    new_run(ModelCheckpoint(folder)).fit()
    new_run(ModelCheckpoint(folder), ckpt_path=str(folder / "epoch=0-step=10.ckpt"), current_epoch=1).fit(epochs=2)
    assert files(folder) == ["epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt"]


def test_files_that_are_gone_are_forgotten_with_a_warning(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="loss")
    state = {"dirpath": str(tmp_path), "best_k_models": {str(tmp_path / "gone.ckpt"): torch.tensor(1.0)}}
    with pytest.warns(UserWarning, match=r"gone\.ckpt"):
        checkpoint.load_state_dict(state)
    assert checkpoint.best_k_models == {}
    assert checkpoint.best_model_path == ""


def test_the_best_are_listed_in_yaml(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="loss", save_top_k=-1)
    new_run(checkpoint, train_metrics=by_epoch("loss", 0.5, 0.25)).fit(epochs=2)
    checkpoint.to_yaml()
    listed = yaml.safe_load((tmp_path / "c" / "best_k_models.yaml").read_text())
    assert listed == {path: float(score) for path, score in checkpoint.best_k_models.items()}


# --- what it is told ---


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"save_top_k": -2}, "`save_top_k` must be"),
        ({"save_top_k": 2}, "`save_top_k=2` needs `monitor`"),
        ({"mode": "minimum"}, "`mode` must be"),
        ({"save_last": "yes"}, "`save_last` must be"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(MisconfigurationException, match=names):
        ModelCheckpoint(**arguments)


def test_the_state_key_names_metric_and_triggers() -> None:
    assert ModelCheckpoint(monitor="vl", every_n_train_steps=3).state_key == (
        "ModelCheckpoint{'monitor': 'vl', 'mode': 'min', 'every_n_train_steps': 3, 'every_n_epochs': 0, "
        "'train_time_interval': None}"
    )


def test_weights_only_is_passed_on(new_run: NewRun, tmp_path: Path) -> None:
    new_run(ModelCheckpoint(tmp_path / "c", save_weights_only=True)).fit()
    assert torch.load(tmp_path / "c" / "epoch=0-step=10.ckpt", weights_only=True)["callbacks"] == {}


def test_a_batch_that_is_not_watched_reads_nothing_of_the_run() -> None:
    ModelCheckpoint().on_train_batch_end(None, None, None, None, 0)  # type: ignore[arg-type]  # no run is needed


# --- what code written for Lightning reads, changes and overrides ---


def test_what_it_was_told_can_be_read() -> None:
    checkpoint = ModelCheckpoint(save_weights_only=True, verbose=True, auto_insert_metric_name=False)
    assert (checkpoint.save_weights_only, checkpoint.verbose, checkpoint.auto_insert_metric_name) == (True, True, False)
    assert (checkpoint.STARTING_VERSION, checkpoint.every_n_epochs) == (1, 1)


def test_folder_and_names_may_be_assigned_before_a_run(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(save_last=False)
    checkpoint.dirpath, checkpoint.filename, checkpoint.save_last = tmp_path / "mine", "model-{step}", True
    checkpoint.CHECKPOINT_NAME_LAST = "newest-{epoch}"  # type: ignore[misc]  # as Lightning's documentation shows it
    new_run(checkpoint).fit(epochs=2)
    assert files(tmp_path / "mine") == ["model-step=20.ckpt", "newest-epoch=1.ckpt"]


def test_the_number_kept_may_be_assigned_and_is_checked(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path)
    checkpoint.save_top_k = -1
    new_run(checkpoint).fit(epochs=2)
    assert files(tmp_path) == ["epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt"]
    with pytest.raises(MisconfigurationException, match="needs `monitor`"):
        checkpoint.save_top_k = 2


def test_a_subclass_reads_its_triggers_and_says_what_it_saved(new_run: NewRun, tmp_path: Path) -> None:
    class Own(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step % self._every_n_train_steps == 0:
                trainer.save_checkpoint(tmp_path / f"own-{trainer.global_step}.ckpt")
                self._last_global_step_saved = trainer.global_step

    checkpoint = Own(tmp_path, every_n_train_steps=5)
    new_run(checkpoint).fit()
    assert files(tmp_path) == ["own-10.ckpt", "own-5.ckpt"]
    assert checkpoint._last_global_step_saved == 10


def test_the_best_path_may_be_assigned() -> None:
    checkpoint = ModelCheckpoint()
    checkpoint.best_model_path = "elsewhere.ckpt"
    assert checkpoint.state_dict()["best_model_path"] == "elsewhere.ckpt"


def test_a_subclass_sets_the_fixed_parts_of_names(new_run: NewRun, tmp_path: Path) -> None:
    class Named(ModelCheckpoint):
        CHECKPOINT_JOIN_CHAR = "_"
        CHECKPOINT_EQUALS_CHAR = ""
        FILE_EXTENSION = ".pt"
        STARTING_VERSION = 5

    for _ in range(2):
        new_run(Named(tmp_path)).fit()
    assert files(tmp_path) == ["epoch0_step10-v5.pt", "epoch0_step10.pt"]


def test_a_subclass_names_checkpoints(new_run: NewRun, tmp_path: Path) -> None:
    class Upper(ModelCheckpoint):
        def format_checkpoint_name(
            self, metrics: Any, filename: Any = None, ver: Any = None, prefix: Any = None
        ) -> str:
            return super().format_checkpoint_name(metrics, filename, ver, "MY")

    new_run(Upper(tmp_path)).fit()
    assert files(tmp_path) == ["MY-epoch=0-step=10.ckpt"]


def test_a_subclass_does_more_when_it_saves_and_removes(new_run: NewRun, tmp_path: Path) -> None:
    done: list[str] = []

    class Uploads(ModelCheckpoint):
        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            super()._save_checkpoint(trainer, filepath)
            done.append(f"save {Path(filepath).name}")

        def _remove_checkpoint(self, trainer: Any, filepath: str) -> None:
            done.append(f"remove {Path(filepath).name}")
            super()._remove_checkpoint(trainer, filepath)

    new_run(Uploads(tmp_path)).fit(epochs=2)
    assert done == ["save epoch=0-step=10.ckpt", "save epoch=1-step=20.ckpt", "remove epoch=0-step=10.ckpt"]
    assert files(tmp_path) == ["epoch=1-step=20.ckpt"]


def test_a_subclass_says_when_nothing_is_saved(new_run: NewRun, tmp_path: Path) -> None:
    class AfterWarmUp(ModelCheckpoint):
        def _should_skip_saving_checkpoint(self, trainer: Any) -> bool:
            return trainer.current_epoch < 1 or super()._should_skip_saving_checkpoint(trainer)

    new_run(AfterWarmUp(tmp_path, save_top_k=-1)).fit(epochs=2)
    assert files(tmp_path) == ["epoch=1-step=20.ckpt"]


def test_a_subclass_with_a_method_that_is_never_called_hears_of_it() -> None:
    with pytest.warns(
        UserWarning, match=r"`Mine` defines `_save_last_checkpoint`, which lt never calls. Override `_sa"
    ):
        type("Mine", (ModelCheckpoint,), {"_save_last_checkpoint": lambda self, trainer, candidates: None})


def test_names_are_asked_for_by_position_too() -> None:
    assert ModelCheckpoint().format_checkpoint_name({"epoch": 1}, "{epoch}", 2) == "epoch=1-v2.ckpt"


def test_it_says_whether_a_file_is_there(new_run: NewRun, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path)
    run = new_run(checkpoint).fit()
    assert checkpoint.file_exists(checkpoint.best_model_path, run)
    assert not checkpoint.file_exists(tmp_path / "other.ckpt", run)


def test_a_copy_has_names_of_its_own() -> None:
    class Uploads(ModelCheckpoint):
        pass

    original = Uploads("folder", filename="a")
    twin = copy.deepcopy(original)
    twin.filename = "b"
    assert (original.filename, twin.filename) == ("a", "b")
    assert twin.format_checkpoint_name({}).endswith("folder/b.ckpt")
