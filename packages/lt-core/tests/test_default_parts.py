from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_runs import QUIET, Journal, Net, fit

from lt_core import default_parts
from lt_core.default_parts import (
    check_state_keys,
    make_callbacks,
    make_loggers,
    make_profiler,
    merge_module_callbacks,
    ordered,
)
from lt_core.specs import trainer_specs
from lt_interfaces import plugins
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException, MissingPackageError
from lt_interfaces.roles import Role


class Ordinary(Callback):
    pass


class Special(Ordinary):
    pass


class Tuner(Callback):
    role = Role.TUNER


class Saver(Callback):
    role = Role.CHECKPOINT


class Timer(Callback):
    role = Role.TIMER


class Bar(Callback):
    role = Role.PROGRESS


class OtherBar(Callback):
    role = Role.PROGRESS


class Stateful(Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"x": 1}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no part be found by name, as where lt-core is installed alone."""
    monkeypatch.setattr(plugins, "is_installed", lambda kind, name: False)


def roles(callbacks: list[Any]) -> list[Role | None]:
    return [callback.role for callback in callbacks]


# --- which callbacks ---


def test_defaults_are_added_after_the_users_and_checkpoints_go_last(tmp_path: Path) -> None:
    mine = [Ordinary(), Saver(), Tuner()]
    callbacks = make_callbacks(trainer_specs(callbacks=mine, max_time="00:01:00:00", default_root_dir=tmp_path))
    assert roles(callbacks) == [Role.TUNER, None, Role.TIMER, Role.PROGRESS, Role.SUMMARY, Role.CHECKPOINT]
    assert len(mine) == 3


def test_each_default_can_be_switched_off() -> None:
    assert make_callbacks(trainer_specs(**QUIET)) == []


def test_a_role_that_is_filled_gets_no_default() -> None:
    callbacks = make_callbacks(trainer_specs(callbacks=[Bar(), Saver()], enable_model_summary=False))
    assert [type(callback) for callback in callbacks] == [Bar, Saver]


def test_a_timer_of_the_users_replaces_max_time(capsys: pytest.CaptureFixture[str]) -> None:
    specs = trainer_specs(callbacks=Timer(), max_time=timedelta(hours=1), **QUIET)
    assert [type(callback) for callback in make_callbacks(specs)] == [Timer]


@pytest.mark.usefixtures("nothing_installed")
def test_defaults_that_are_not_installed_are_left_out() -> None:
    assert make_callbacks(trainer_specs()) == []
    assert make_loggers(trainer_specs()) == []


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("argument", "distribution"),
    [
        ({"enable_checkpointing": True}, "lt-callbacks"),
        ({"enable_progress_bar": True}, "lt-callbacks"),
        ({"enable_model_summary": True}, "lt-callbacks"),
        ({"max_time": "00:01:00:00"}, "lt-callbacks"),
        ({"logger": True}, "lt-loggers"),
    ],
)
def test_what_was_asked_for_and_is_not_installed_is_refused_with_the_install_line(
    argument: dict[str, Any], distribution: str
) -> None:
    specs = trainer_specs(**argument)
    with pytest.raises(MissingPackageError, match=f"`{next(iter(argument))}.*pip install {distribution}"):
        (make_loggers if "logger" in argument else make_callbacks)(specs)


# --- loggers and profilers ---


@pytest.mark.parametrize("asked", [None, True])
def test_tensorboard_is_the_default_logger(asked: Any, tmp_path: Path) -> None:
    (logger,) = make_loggers(trainer_specs(logger=asked, default_root_dir=tmp_path))
    assert type(logger).__name__ == "TensorBoardLogger"


def test_csv_is_the_default_logger_without_tensorboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    is_installed = plugins.is_installed
    monkeypatch.setattr(plugins, "is_installed", lambda kind, name: name != "tensorboard" and is_installed(kind, name))
    (logger,) = make_loggers(trainer_specs(default_root_dir=tmp_path))
    assert type(logger).__name__ == "CSVLogger"


def test_loggers_are_none_one_or_several(tmp_path: Path) -> None:
    journal, other = Journal(), Journal()
    assert make_loggers(trainer_specs(logger=False)) == []
    assert make_loggers(trainer_specs(logger=journal)) == [journal]
    assert make_loggers(trainer_specs(logger=[journal, other])) == [journal, other]


def test_profilers_are_none_or_an_instance() -> None:
    assert make_profiler(trainer_specs()) is None


# --- order and replacement ---


class Factories:
    """Stands for what `importlib.metadata.entry_points` finds in a group."""

    def __init__(self, **made: Any) -> None:
        self.made = made
        self.asked: list[str] = []

    def __call__(self, *, group: str) -> list[Any]:
        self.asked.append(group)
        return [SimpleNamespace(name=name, load=lambda made=made: lambda: made) for name, made in self.made.items()]


def test_installed_factories_bring_callbacks_where_the_environment_names_their_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Factories(one=Ordinary(), two=[Special(), Saver()])
    monkeypatch.setattr(default_parts, "entry_points", found)
    monkeypatch.delenv("LT_CALLBACK_FACTORIES", raising=False)
    assert make_callbacks(trainer_specs(**QUIET)) == []
    monkeypatch.setenv("LT_CALLBACK_FACTORIES", "some.factories")
    brought = make_callbacks(trainer_specs(callbacks=Bar(), **{**QUIET, "enable_progress_bar": None}))
    assert [type(one) for one in brought] == [Bar, Ordinary, Special, Saver]
    assert found.asked == ["some.factories"]


def test_an_attribute_of_the_users_called_role_does_not_matter() -> None:
    named, listed = Ordinary(), Ordinary()
    named.role, listed.role = "tuner", ["tuner"]  # type: ignore[misc,assignment]
    assert ordered([Saver(), named, listed])[:2] == [named, listed]


def test_tuners_go_first_checkpoints_last_and_others_keep_their_order() -> None:
    one, two, save, save_too, tune = Ordinary(), Bar(), Saver(), Saver(), Tuner()
    assert ordered([save, one, save_too, tune, two]) == [tune, one, two, save, save_too]


@pytest.mark.parametrize(
    ("trainers", "modules", "kept"),
    [
        ([Ordinary], [Ordinary], [Ordinary]),
        ([Ordinary], [Special], [Special]),
        ([Special], [Ordinary], [Special, Ordinary]),
        ([Ordinary, Bar], [Special], [Bar, Special]),
        ([Ordinary, Ordinary], [Ordinary], [Ordinary]),
        ([Saver, Bar], [Ordinary], [Bar, Ordinary, Saver]),
        ([Bar], [Saver, Ordinary], [Bar, Ordinary, Saver]),
        ([Bar], [], [Bar]),
    ],
)
def test_a_callback_of_the_module_replaces_those_of_its_class_or_a_base_of_it(
    trainers: list[type], modules: list[type], kept: list[type]
) -> None:
    given, returned = [kind() for kind in trainers], [kind() for kind in modules]
    merged = merge_module_callbacks(given, returned)
    assert [type(callback) for callback in merged] == kept
    assert all(one in merged for one in returned)
    assert len(given) == len(trainers)


@pytest.mark.parametrize("returned", [None, [], ()])
def test_a_module_may_bring_no_callbacks(returned: Any) -> None:
    mine = Ordinary()
    assert merge_module_callbacks([mine], returned) == [mine]


def test_a_module_may_bring_one_callback_without_a_list() -> None:
    mine, own = Ordinary(), Special()
    assert merge_module_callbacks([mine], own) == [own]


class Brings(Net):
    """Brings callbacks of its own."""

    def __init__(self, *kinds: type[Callback]) -> None:
        super().__init__()
        self.kinds = kinds

    def configure_callbacks(self) -> list[Callback]:
        return [kind() for kind in self.kinds]


def test_a_run_uses_the_modules_callbacks_once_however_often_it_starts(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Brings(Special), Ordinary(), Bar(), enable_progress_bar=None)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(Brings(Special), train_dataloaders=trainer.train_dataloader)
    assert [type(callback) for callback in trainer.callbacks] == [Bar, Special]


def test_a_second_progress_bar_of_the_modules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="at most one progress bar"):
        fit(tmp_path, Brings(OtherBar), Bar(), enable_progress_bar=None)


# --- state ---


def test_two_callbacks_with_state_under_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="under the key 'Stateful'"):
        check_state_keys([Stateful(), Ordinary(), Stateful()])
    with pytest.raises(RuntimeError, match="under the key 'Stateful'"):
        fit(tmp_path, Net(), Stateful(), Stateful())


def test_callbacks_without_state_may_share_a_key() -> None:
    check_state_keys([Ordinary(), Ordinary(), Stateful()])


def test_keys_of_ones_own_tell_callbacks_apart() -> None:
    class Keyed(Stateful):
        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def state_key(self) -> str:
            return self._generate_state_key(number=self.number)

    check_state_keys([Keyed(1), Keyed(2)])
    with pytest.raises(RuntimeError, match=r"Keyed\{'number': 1\}"):
        check_state_keys([Keyed(1), Keyed(1)])


def test_a_callback_the_module_brings_must_have_a_key_of_its_own(tmp_path: Path) -> None:
    class Twice(Brings):
        def configure_callbacks(self) -> list[Callback]:
            return [Stateful(), Stateful()]

    with pytest.raises(RuntimeError, match="under the key"):
        fit(tmp_path, Twice())


def test_a_batch_job_goes_on_in_the_folder_of_its_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "77"}.items():
        monkeypatch.setenv(name, value)
    assert make_loggers(trainer_specs(logger="csv", default_root_dir=tmp_path))[0].version == "77"
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert make_loggers(trainer_specs(logger="csv", default_root_dir=tmp_path))[0].version == 0
