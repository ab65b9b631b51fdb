import copy
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import QUIET, Heard, Journal, Keeper, Net, fit, rows, trainer_with
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from lt_core import Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.roles import Role

# --- what it shows before a run ---


def test_fresh_trainer_shows_nothing_of_a_run(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    assert (trainer.global_step, trainer.current_epoch, trainer.num_training_batches) == (0, 0, float("inf"))
    assert (trainer.optimizers, trainer.lr_scheduler_configs, trainer.lightning_optimizers) == ([], [], [])
    assert (trainer.lightning_module, trainer.model, trainer.datamodule, trainer.ckpt_path) == (None,) * 4
    assert (trainer.train_dataloader, trainer.val_dataloaders) == (None, None)
    assert (trainer.test_dataloaders, trainer.predict_dataloaders) == (None, None)
    assert (trainer.num_val_batches, trainer.num_test_batches, trainer.num_predict_batches) == ([], [], [])
    assert (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics) == ({}, {}, {})
    assert (trainer.state.status, trainer.state.fn, trainer.state.stage) == ("initializing", None, None)
    assert not any((trainer.training, trainer.validating, trainer.testing, trainer.predicting, trainer.evaluating))
    assert not any((trainer.sanity_checking, trainer.should_stop, trainer.interrupted, trainer.received_sigterm))
    assert not any((trainer.is_last_batch, trainer.enable_validation))


def test_hardware_is_one_process_on_one_cpu(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank) == (0, 0, 0)
    assert (trainer.world_size, trainer.num_nodes, trainer.num_devices) == (1, 1, 1)
    assert (trainer.device_ids, trainer.is_global_zero, trainer.distributed_sampler_kwargs) == ([0], True, None)
    assert (trainer.precision, trainer.scaler) == ("32-true", None)
    assert trainer.precision_plugin.precision == "32-true"
    assert trainer.accelerator.name == "cpu"
    assert trainer.strategy.root_device == torch.device("cpu")


SETTINGS: dict[str, Any] = {
    "max_epochs": 3,
    "min_epochs": 1,
    "max_steps": 9,
    "min_steps": 2,
    "accumulate_grad_batches": 2,
    "limit_train_batches": 5,
    "limit_val_batches": 0.5,
    "limit_test_batches": 6,
    "limit_predict_batches": 7,
    "overfit_batches": 0.0,
    "gradient_clip_val": 0.5,
    "gradient_clip_algorithm": "value",
    "val_check_interval": 4,
    "check_val_every_n_epoch": 2,
    "num_sanity_val_steps": 3,
    "reload_dataloaders_every_n_epochs": 4,
    "log_every_n_steps": 7,
    "fast_dev_run": False,
    "barebones": False,
}


def test_code_may_use_the_profiler_though_none_was_given() -> None:
    with Trainer(logger=False).profiler.profile("mine") as name:
        assert name == "mine"


def test_settings_are_shown_as_they_were_given(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, **SETTINGS)
    assert {name: getattr(trainer, name) for name in SETTINGS} == SETTINGS
    assert trainer.default_root_dir == str(tmp_path)


def test_settings_are_shown_settled(tmp_path: Path) -> None:
    trainer = Trainer(fast_dev_run=3, overfit_batches=2, **QUIET)
    assert (trainer.max_epochs, trainer.max_steps, trainer.num_sanity_val_steps) == (1, 3, 0)
    assert (trainer.limit_train_batches, trainer.limit_test_batches) == (2, 3)
    assert Trainer(num_sanity_val_steps=-1, **QUIET).num_sanity_val_steps == float("inf")
    assert Trainer(val_check_interval="00:00:01:00", **QUIET).val_check_interval == timedelta(minutes=1)


def test_max_epochs_is_unknown_until_a_run_settles_it(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, max_epochs=None, max_steps=2, limit_val_batches=0)
    assert trainer.max_epochs is None
    trainer.fit(Net(), rows())
    assert trainer.max_epochs == -1
    assert (trainer.min_epochs, trainer.min_steps) == (0, None)


# --- what it shows of a run ---


class Scheduled(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [StepLR(optimizer, 1)]


def test_parts_of_a_fit_are_shown(tmp_path: Path) -> None:
    net, train, val = Scheduled(), {"a": rows(3)}, [rows(2), rows(1)]

    class TakesAll(Scheduled):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch["a"])

        def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
            pass

    net = TakesAll()
    trainer = fit(tmp_path, net, data=train, val_dataloaders=val, num_sanity_val_steps=1)
    assert trainer.train_dataloader is train
    assert trainer.val_dataloaders is val
    assert (trainer.num_training_batches, trainer.num_val_batches) == (3, [2, 1])
    assert trainer.num_sanity_val_batches == [1, 1]
    assert trainer.enable_validation
    assert trainer.optimizers[0].param_groups[0]["params"] == list(net.parameters())
    assert trainer.lr_scheduler_configs[0].scheduler.optimizer is trainer.optimizers[0]
    assert isinstance(trainer.lightning_optimizers[0], torch.optim.SGD)
    assert trainer.is_last_batch is False


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_loaders_of_an_evaluation_are_shown(stage: str, tmp_path: Path) -> None:
    trainer, loaders = trainer_with(tmp_path), [rows(2)]
    getattr(trainer, stage)(Net(), loaders)
    assert getattr(trainer, f"{stage}_dataloaders") is loaders
    assert getattr(trainer, f"num_{stage}_batches") == [2]


def test_loaders_of_validation_alone_are_shown(tmp_path: Path) -> None:
    trainer, loader = trainer_with(tmp_path), rows(2)
    trainer.validate(Net(), loader, verbose=False)
    assert trainer.val_dataloaders is loader
    assert trainer.num_val_batches == [2]


@pytest.mark.parametrize(
    ("stage", "flag", "hook"),
    [
        ("fit", "training", "on_train_start"),
        ("validate", "validating", "on_validation_start"),
        ("test", "testing", "on_test_start"),
        ("predict", "predicting", "on_predict_start"),
    ],
)
def test_flag_of_the_running_stage_is_up_alone(stage: str, flag: str, hook: str, tmp_path: Path) -> None:
    up: list[str] = []
    flags = ("training", "validating", "testing", "predicting", "sanity_checking")

    def look(trainer: Any, *args: Any) -> None:
        up.extend(name for name in flags if getattr(trainer, name))
        assert trainer.evaluating == (stage in ("validate", "test"))

    callback = Heard()
    setattr(callback, hook, look)
    trainer = trainer_with(tmp_path, callback, num_sanity_val_steps=0)
    getattr(trainer, stage)(Net(), rows(1), *([rows(1)] if stage == "fit" else []))
    assert up == [flag]


# --- what may be set ---


@pytest.mark.parametrize("flag", ["training", "validating", "testing", "predicting", "sanity_checking"])
def test_stage_flags_may_be_set(flag: str, tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    setattr(trainer, flag, True)
    assert getattr(trainer, flag)
    setattr(trainer, flag, False)
    assert trainer.state.stage is None


def test_limits_of_the_fit_loop_may_be_set_and_are_checked(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, max_epochs=1)
    trainer.fit_loop.max_epochs = 4
    trainer.fit_loop.max_steps = 6
    assert (trainer.max_epochs, trainer.max_steps) == (4, 6)
    assert (trainer.fit_loop.max_epochs, trainer.fit_loop.max_steps) == (4, 6)
    with pytest.raises(MisconfigurationException, match="max_epochs"):
        trainer.fit_loop.max_epochs = -2
    with pytest.raises(MisconfigurationException, match="max_steps"):
        trainer.fit_loop.max_steps = -2
    assert (trainer.max_epochs, trainer.max_steps) == (4, 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit_train_batches", 3),
        ("limit_val_batches", 0.5),
        ("limit_test_batches", 1),
        ("limit_predict_batches", 2),
        ("num_sanity_val_steps", 0),
        ("reload_dataloaders_every_n_epochs", 1),
        ("val_check_interval", 1),
        ("check_val_every_n_epoch", None),
        ("log_every_n_steps", 1),
        ("gradient_clip_val", 0.5),
        ("gradient_clip_algorithm", "value"),
        ("enable_autolog_hparams", False),
    ],
)
def test_settings_that_code_changes_between_two_calls_may_be_assigned(name: str, value: Any, tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    setattr(trainer, name, value)
    assert getattr(trainer, name) == value


def test_an_assigned_setting_holds_in_the_next_call(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, max_epochs=1)
    trainer.limit_train_batches, trainer.limit_val_batches = 2, 0
    trainer.fit(Net(), rows(4), rows(4))
    assert (trainer.global_step, trainer.num_val_batches) == (2, [])


def test_a_setting_assigned_within_a_run_holds_from_the_next_call_on_and_says_so(tmp_path: Path) -> None:
    class Doubles(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                trainer.gradient_clip_val = 2.0

    trainer = trainer_with(tmp_path, Doubles(), max_epochs=1, gradient_clip_val=1.0)
    with pytest.warns(UserWarning, match=r"`trainer.gradient_clip_val = 2.0` within a run holds from the next call on"):
        trainer.fit(Net(), rows(2), rows(1))
    assert trainer.gradient_clip_val == 2.0


def test_an_assigned_setting_is_checked_like_the_argument(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, val_check_interval=0.5)
    with pytest.raises(MisconfigurationException, match="limit_val_batches"):
        trainer.limit_val_batches = -1
    with pytest.raises(MisconfigurationException, match="can't be counted across epochs"):
        trainer.check_val_every_n_epoch = None
    with pytest.raises(AttributeError, match="max_steps"):
        trainer.max_steps = 3
    assert (trainer.limit_val_batches, trainer.check_val_every_n_epoch) == (1.0, 1)


def test_loggers_may_be_set(tmp_path: Path) -> None:
    trainer, one, other = trainer_with(tmp_path), Journal(), Journal()
    assert (trainer.logger, trainer.loggers) == (None, [])
    trainer.logger = one
    assert trainer.loggers == [one]
    trainer.loggers = [other, one]
    assert trainer.logger is other
    trainer.logger = None
    assert trainer.loggers == []
    trainer.logger = one
    trainer.logger = False
    assert trainer.loggers == []


def test_optimizers_may_be_set(tmp_path: Path) -> None:
    class Replaces(Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.optimizers = [torch.optim.SGD(pl_module.parameters(), lr=0.0)]

    net = Net()
    before = net.weights
    trainer = fit(tmp_path, net, Replaces())
    assert torch.equal(net.weights, before)
    assert trainer.global_step == 4


def test_callbacks_may_be_set_while_it_runs(tmp_path: Path) -> None:
    late = Heard()

    class Adds(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 2:
                trainer.callbacks = [*trainer.callbacks, late]

    trainer = fit(tmp_path, Net(), Adds())
    assert late.count("on_train_batch_start") == 2
    assert trainer.callbacks[-1] is late


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_train_epoch_start"])
def test_a_callback_added_to_the_list_while_it_runs_is_heard_and_may_log(hook: str, tmp_path: Path) -> None:
    class Late(Heard):
        def on_train_batch_end(self, *args: Any) -> None:
            self.log("late", 1.0)

    late = Late()
    adds = type("Adds", (Callback,), {hook: lambda self, trainer, *_: trainer.callbacks.append(late)})()
    trainer = fit(tmp_path, Net(), adds)
    assert late.count("on_train_batch_start") == 4
    assert trainer.callback_metrics["late"] == 1.0


def test_a_callback_taken_out_of_the_list_while_it_runs_is_no_longer_heard(tmp_path: Path) -> None:
    heard = Heard()

    class Removes(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 2:
                trainer.callbacks.remove(heard)

    fit(tmp_path, Net(), heard, Removes())
    assert heard.count("on_train_batch_start") == 2


def test_the_list_of_callbacks_is_pickled_without_the_trainer(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), Callback())
    copied = pickle.loads(pickle.dumps(trainer.callbacks))
    assert [type(one) for one in copied] == [Callback]
    assert type(copy.copy(trainer.callbacks)) is list


@pytest.mark.parametrize("when", ["before", "during"])
def test_accumulation_may_be_set(when: str, tmp_path: Path) -> None:
    class Sets(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if when == "during":
                trainer.accumulate_grad_batches = 4

    trainer = trainer_with(tmp_path, Sets(), limit_val_batches=0)
    if when == "before":
        trainer.accumulate_grad_batches = 4
    trainer.fit(Net(), rows())
    assert trainer.accumulate_grad_batches == 4
    assert trainer.global_step == 1


@pytest.mark.parametrize(
    ("value", "failure"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError), (None, TypeError)]
)
def test_accumulation_is_checked_when_set(value: Any, failure: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(failure, match="accumulate_grad_batches"):
        trainer_with(tmp_path).accumulate_grad_batches = value


@pytest.mark.parametrize(
    "name", ["global_step", "current_epoch", "max_epochs", "max_steps", "callback_metrics", "state"]
)
def test_other_properties_cannot_be_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        setattr(trainer_with(tmp_path), name, 1)


# --- callbacks and their roles ---


def test_list_of_callbacks_given_is_left_as_it_was(tmp_path: Path) -> None:
    given = [Heard()]
    Trainer(callbacks=given, default_root_dir=tmp_path, accelerator="cpu", logger=False)
    assert len(given) == 1


def test_callbacks_are_found_by_role(tmp_path: Path) -> None:
    class Stops(Callback):
        role = Role.STOP

    class Bar(Callback):
        role = Role.PROGRESS

    first, second, stops, bar = Keeper(), Keeper(), Stops(), Bar()
    options = {"enable_checkpointing": None, "enable_progress_bar": None}
    trainer = trainer_with(tmp_path, first, stops, second, bar, **options)
    assert (trainer.checkpoint_callback, trainer.checkpoint_callbacks) == (first, [first, second])
    assert (trainer.early_stopping_callback, trainer.early_stopping_callbacks) == (stops, [stops])
    assert trainer.progress_bar_callback is bar
    assert trainer.callbacks == [stops, bar, first, second]  # checkpoints last


def test_roles_that_nobody_has_are_none(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    assert (trainer.checkpoint_callback, trainer.early_stopping_callback, trainer.progress_bar_callback) == (None,) * 3


def test_callbacks_of_the_module_replace_those_of_their_kind(tmp_path: Path) -> None:
    class Mine(Heard):
        pass

    mine, other = Mine(), Keeper()

    class Brings(Net):
        def configure_callbacks(self) -> Any:
            return [mine]

    trainer = fit(tmp_path, Brings(), Heard(), other, enable_checkpointing=None)
    assert trainer.callbacks == [mine, other]
    assert mine.count("on_train_start") == 1


# --- folders, printing, metrics ---


def test_log_dir_is_the_first_loggers_or_the_root(tmp_path: Path) -> None:
    class Folder(Journal):
        log_dir = "runs/3"
        save_dir = "runs"

    class Flat(Journal):
        save_dir = "runs"

    assert trainer_with(tmp_path).log_dir == str(tmp_path)
    assert trainer_with(tmp_path, logger=[Folder(), Flat()]).log_dir == "runs/3"
    assert trainer_with(tmp_path, logger=Flat()).log_dir == "runs"


def test_default_root_is_where_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Trainer(**QUIET).default_root_dir == str(tmp_path)


def test_metrics_are_shown_to_each_as_they_were_logged(tmp_path: Path) -> None:
    class Logs(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.log("hidden", 1.0, logger=False)
            self.log("bar", 2.0, prog_bar=True)
            return self.loss(batch)

    trainer = fit(tmp_path, Logs())
    assert {name: value.item() for name, value in trainer.callback_metrics.items()} == {"hidden": 1.0, "bar": 2.0}
    assert list(trainer.logged_metrics) == ["bar"]
    assert trainer.progress_bar_metrics == {"bar": 2.0}


def test_metrics_sent_by_a_callback_reach_loggers_and_callbacks(tmp_path: Path) -> None:
    class Sends(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.log_metrics({"extra": float(trainer.global_step)})

    journal = Journal()
    trainer = fit(tmp_path, Net(), Sends(), logger=journal)
    assert [row["extra"] for _, row in journal.sent if "extra" in row] == [1.0, 2.0, 3.0, 4.0]
    assert trainer.callback_metrics["extra"] == 4.0


def test_fast_dev_run_sends_nothing_to_the_loggers(tmp_path: Path) -> None:
    class Sends(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.log_metrics({"extra": 1.0})

    journal = Journal()
    trainer_with(tmp_path, Sends(), logger=journal, fast_dev_run=True).fit(Net(), rows(), rows(1))
    assert (journal.sent, journal.endings) == ([], [])


def test_print_prints_once_per_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer_with(tmp_path).print("hello", end="!")
    assert capsys.readouterr().out == "hello!"


def test_votes_and_broadcasts_of_one_process_are_its_own(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    assert trainer.agree(True)
    assert not trainer.agree(False, all_ranks=False)
    assert trainer.broadcast({"x": 1}) == {"x": 1}


def test_module_is_made_on_its_device(tmp_path: Path) -> None:
    with trainer_with(tmp_path).init_module():
        made = torch.nn.Linear(2, 2)
    assert made.weight.device.type == "cpu"


# --- checkpoints ---


def test_saving_before_a_module_was_attached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="needs a module"):
        trainer_with(tmp_path).save_checkpoint(tmp_path / "x.ckpt")


def test_saved_checkpoint_can_be_removed(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net())
    trainer.save_checkpoint(tmp_path / "new folder" / "x.ckpt")
    trainer.remove_checkpoint(tmp_path / "new folder" / "x.ckpt")
    assert list((tmp_path / "new folder").iterdir()) == []


def test_options_that_the_checkpoint_file_does_not_take_are_refused(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net())
    with pytest.raises(TypeError, match="storage_options"):
        trainer.save_checkpoint(tmp_path / "x.ckpt", storage_options={"a": 1})
