import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comet_ml
import pytest
from comet_files import graphs, keys, metrics, notes, parameters, project
from small_runs import EXPECTED_STEPS, Line, trainer
from torch import nn

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.logger import Logger
from lt_interfaces.plugins import resolve
from lt_interfaces.testing import LoggerContract
from lt_loggers import CometLogger, CSVLogger

KEY, OTHER_KEY = "a" * 32, "b" * 32
QUIET = {"log_code": False, "log_env_details": False, "display_summary_level": 0, "auto_output_logging": False}


@pytest.fixture(autouse=True)
def _ended_experiments() -> Iterator[None]:
    yield
    end()


def end() -> None:
    experiment = comet_ml.get_running_experiment()
    if experiment is not None:
        experiment.end()


def offline(folder: Path, **arguments: Any) -> CometLogger:
    return CometLogger(online=False, offline_directory=str(folder), **QUIET, **arguments)


class TestCometLogger(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> Logger:
        return offline(tmp_path)


# --- what's logged ---


def test_metrics_are_sent_with_step_and_epoch(tmp_path: Path) -> None:
    logger = offline(tmp_path, prefix="teacher")
    logger.log_metrics({"loss": 0.5, "accuracy": 1, "epoch": 2}, step=7)
    end()
    assert sorted(metrics(tmp_path)) == [("teacher_accuracy", 1, 7, 2), ("teacher_loss", 0.5, 7, 2)]


def test_hyper_parameters_are_sent_with_their_groups(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": {"sizes": (8, 4), "act": nn.ReLU}, "note": None})
    end()
    assert parameters(tmp_path) == {"lr": 0.1, "net|sizes": [8, 4], "net|act": str(nn.ReLU), "note": None}


def test_the_modules_structure_is_sent(tmp_path: Path) -> None:
    offline(tmp_path).log_graph(nn.Linear(2, 1))
    end()
    assert graphs(tmp_path) == [str(nn.Linear(2, 1))]


def test_a_trainer_logs_what_it_logs_to_csv_files(tmp_path: Path) -> None:
    loggers = [offline(tmp_path, project="digits", name="first"), CSVLogger(tmp_path / "csv", version="first")]
    trainer(tmp_path, logger=loggers, enable_checkpointing=False).fit(Line(lr=0.05))
    end()
    lines = (Path(loggers[1].log_dir or "") / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    for name in ("loss", "val_loss"):
        written = [(float(row[name]), int(row["step"]), 0) for row in rows if row[name]]
        sent = [(value, step, epoch) for sent_name, value, step, epoch in metrics(tmp_path) if sent_name == name]
        assert sent == [(pytest.approx(value), step, epoch) for value, step, epoch in written]
    assert [step for name, _, step, _ in metrics(tmp_path) if name == "loss"] == EXPECTED_STEPS
    assert parameters(tmp_path) == {"lr": 0.05}
    assert project(tmp_path) == "digits"
    assert notes(tmp_path).items() >= {"Name": "first", "Created from": "lt"}.items()


# --- which experiment ---


def test_the_experiment_has_the_key_that_the_logger_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = offline(tmp_path)
    version = logger.version
    assert logger.experiment.get_key() == version
    end()
    monkeypatch.setenv("COMET_EXPERIMENT_KEY", OTHER_KEY)
    assert offline(tmp_path).version == OTHER_KEY
    assert offline(tmp_path, experiment_key=KEY).version == KEY


def test_the_project_is_the_one_given_else_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offline(tmp_path).name is None
    monkeypatch.setenv("COMET_PROJECT_NAME", "digits")
    assert offline(tmp_path).name == "digits"
    assert offline(tmp_path, project="letters").name == "letters"
    assert offline(tmp_path).save_dir == str(tmp_path)
    assert CometLogger().save_dir is None


def test_an_experiment_is_continued_by_its_key(tmp_path: Path) -> None:
    for step in range(2):
        offline(tmp_path, experiment_key=KEY).log_metrics({"loss": 1.0}, step=step)
        end()
    assert keys(tmp_path) == [KEY, KEY]
    assert metrics(tmp_path) == [("loss", 1.0, 0, None), ("loss", 1.0, 1, None)]


def test_an_experiment_that_the_users_code_has_started_is_continued(tmp_path: Path) -> None:
    experiment = comet_ml.OfflineExperiment(offline_directory=str(tmp_path), log_code=False)
    logger = offline(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    assert logger.experiment is experiment
    assert logger.version == experiment.get_key()


def test_one_logger_after_another_has_an_experiment_of_its_own(tmp_path: Path) -> None:
    loggers = [offline(tmp_path) for _ in range(2)]
    for step, logger in enumerate(loggers):
        logger.log_metrics({"loss": 1.0}, step=step)
        logger.finalize("success")
    end()
    assert keys(tmp_path) == [logger.version for logger in loggers]
    assert [metrics(tmp_path, logger.version)[0][2] for logger in loggers] == [0, 1]


def test_two_loggers_at_once_are_refused_as_comet_has_one_experiment_at_a_time(tmp_path: Path) -> None:
    loggers = [offline(tmp_path) for _ in range(2)]
    with pytest.raises(MisconfigurationException, match="Comet keeps one experiment at a time"):
        trainer(tmp_path, logger=loggers, enable_checkpointing=False).fit(Line())


def test_a_logger_goes_on_although_a_later_one_took_its_place(tmp_path: Path) -> None:
    first, second = offline(tmp_path), offline(tmp_path)
    first.log_metrics({"loss": 1.0}, step=0)
    first.finalize("success")
    second.log_metrics({"loss": 1.0}, step=1)
    second.finalize("success")
    first.log_metrics({"test": 1.0}, step=2)
    end()
    assert [step for _, _, step, _ in metrics(tmp_path, first.version)] == [0, 2]


def test_an_experiment_that_was_ended_is_continued_under_its_key(tmp_path: Path) -> None:
    logger = offline(tmp_path, mode="create")
    for step in range(2):
        logger.log_metrics({"loss": 1.0}, step=step)
        logger.experiment.end()
    assert keys(tmp_path) == [logger.version] * 2
    assert [step for _, _, step, _ in metrics(tmp_path)] == [0, 1]


def test_of_two_ranks_only_the_first_talks_to_comet(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    trainer(tmp_path, logger=logger, strategy="ddp_spawn", devices=2, enable_checkpointing=False).fit(Line())
    assert keys(tmp_path) == [logger.version]
    assert [step for name, _, step, _ in metrics(tmp_path) if name == "loss"] == [0, 1]


def test_a_copy_belongs_to_the_same_experiment(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    assert pickle.loads(pickle.dumps(logger)).version == logger.version
    logger.log_metrics({"loss": 1.0}, step=0)
    assert pickle.loads(pickle.dumps(logger)).experiment is logger.experiment


def test_the_name_stands_for_it_and_a_job_goes_on_in_its_experiment(tmp_path: Path) -> None:
    make = resolve("loggers", "comet")
    first, again, other = (make(save_dir=tmp_path, version=job) for job in ("4711", "4711", "4712"))
    assert first.version == again.version != other.version
    assert re.fullmatch("[0-9a-f]{32}", first.version)
    assert first.save_dir == str(tmp_path)
    assert isinstance(make(save_dir=tmp_path, version=None), CometLogger)


# --- older names ---


def test_older_names_are_understood_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="is called `") as warned:
        logger = CometLogger(
            project_name="digits", experiment_name="first", save_dir=str(tmp_path), offline=True, **QUIET
        )
    assert len(warned) == 4
    logger.log_metrics({"loss": 1.0}, step=0)
    end()
    assert (project(tmp_path), notes(tmp_path)["Name"]) == ("digits", "first")
