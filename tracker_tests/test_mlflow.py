import math
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from small_runs import EXPECTED_STEPS, Line, trainer

from lt_callbacks import ModelCheckpoint
from lt_interfaces.logger import Logger
from lt_interfaces.plugins import resolve
from lt_interfaces.testing import LoggerContract
from lt_loggers import CSVLogger, MLFlowLogger
from lt_loggers.mlflow_runs import MLFlowExperiment


class TestMLFlowLogger(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> Logger:
        return MLFlowLogger(save_dir=tmp_path / "runs")


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client(folder).search_experiments()]
    return list(client(folder).search_runs(experiments))


def only_run(folder: Path) -> Run:
    (run,) = runs(folder)
    return run


def history(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client(folder).get_metric_history(only_run(folder).info.run_id, name)]


# --- what's logged ---


def test_metrics_are_kept_with_their_steps(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path, prefix="teacher")
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=3)
    logger.log_metrics({"loss": math.nan}, step=4)
    logger.log_metrics({"note": 1})
    (first, second) = history(tmp_path, "teacher-loss")
    assert (first, second[0], math.isnan(second[1])) == ((3, 0.5), 4, True)
    assert history(tmp_path, "teacher-note") == [(0, 1.0)]


def test_texts_and_characters_that_mlflow_refuses_are_left_out_with_a_warning(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path)
    with pytest.warns(UserWarning, match="`words` isn't sent to MLflow: it takes numbers, got 'many'"):
        logger.log_metrics({"words": "many", "f1/val:a-b_c.d e": 1.0}, step=0)
    with pytest.warns(UserWarning, match=r"`top@5 \(val\)` is sent as `top5 val`"):
        logger.log_metrics({"top@5 (val)": 0.5}, step=0)
    assert set(only_run(tmp_path).data.metrics) == {"f1/val:a-b_c.d e", "top5 val"}


def test_more_values_than_mlflow_takes_at_once_are_logged(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path)
    logger.log_metrics({f"metric{i}": i for i in range(1001)}, step=0)
    logger.log_hyperparams({f"param{i}": i for i in range(101)})
    assert len(only_run(tmp_path).data.metrics) == 1001
    assert len(only_run(tmp_path).data.params) == 101


def test_hyper_parameters_are_flat_texts(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": {"sizes": (8, 4), "act": None}, "long": "x" * 300})
    expected = {"lr": "0.1", "net/sizes": "[8, 4]", "net/act": "None", "long": "x" * 300}
    assert only_run(tmp_path).data.params == expected


def test_a_hyper_parameter_that_changed_keeps_its_value_with_a_warning(tmp_path: Path) -> None:
    same = {"lr": 0.1, "long": "x" * 7000}
    MLFlowLogger(save_dir=tmp_path, version="same").log_hyperparams({"epochs": 1, **same})
    with pytest.warns(UserWarning, match="`epochs` stays '1' in MLflow's run .* can't change it to '12'") as warned:
        MLFlowLogger(save_dir=tmp_path, version="same").log_hyperparams({"epochs": 12, **same, "new": 1})
    assert len(warned) == 1
    params = only_run(tmp_path).data.params
    assert (params["epochs"], params["lr"], params["new"]) == ("1", "0.1", "1")


def test_a_trainer_logs_what_it_logs_to_csv_files(tmp_path: Path) -> None:
    loggers = [MLFlowLogger(save_dir=tmp_path), CSVLogger(tmp_path / "csv", version="first")]
    trainer(tmp_path, logger=loggers, enable_checkpointing=False).fit(Line(lr=0.05))
    lines = (Path(loggers[1].log_dir or "") / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    for name in ("loss", "val_loss", "epoch"):
        written = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        assert history(tmp_path, name) == [(step, pytest.approx(value)) for step, value in written]
    assert [step for step, _ in history(tmp_path, "loss")] == EXPECTED_STEPS
    run = only_run(tmp_path)
    assert (run.data.params, run.info.status) == ({"lr": "0.05"}, "FINISHED")


def test_what_is_sent_in_the_background_has_arrived_when_the_logger_is_saved(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path, synchronous=False)
    logger.log_hyperparams({"lr": 0.1})
    for step in range(20):
        logger.log_metrics({"loss": float(step)}, step=step)
    logger.save()
    assert history(tmp_path, "loss") == [(step, float(step)) for step in range(20)]
    assert only_run(tmp_path).data.params == {"lr": "0.1"}


# --- which run, and where ---


def test_the_run_has_its_name_and_tags(tmp_path: Path) -> None:
    logger = MLFlowLogger("digits", "first try", save_dir=tmp_path, tags={"team": "a", "size": 3})
    logger.log_metrics({"loss": 1.0}, step=0)
    run = only_run(tmp_path)
    assert (run.info.run_id, run.info.experiment_id) == (logger.run_id, logger.experiment_id)
    assert run.info.run_name == "first try"
    assert run.data.tags.items() >= {"team": "a", "size": "3", "lt.version": logger.version}.items()
    assert client(tmp_path).get_experiment(run.info.experiment_id).name == logger.name == "digits"


def test_a_tracking_uri_given_or_in_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "given").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/env/mlflow.db")
    loggers = [MLFlowLogger(), MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path}/given/mlflow.db")]
    for logger in loggers:
        logger.log_metrics({"loss": 1.0}, step=0)
    assert [runs(tmp_path / folder)[0].info.run_id for folder in ("env", "given")] == [one.run_id for one in loggers]
    assert [logger.save_dir for logger in loggers] == [None, None]


def test_without_a_place_runs_and_artifacts_are_below_mlruns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logger = MLFlowLogger()
    logger.experiment.log_text(logger.run_id, "fine", "notes.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlruns"]
    assert (tmp_path / "mlruns/artifacts" / str(logger.run_id) / "artifacts/notes.txt").read_text() == "fine"
    assert logger.save_dir == str(tmp_path / "mlruns")


def test_artifacts_go_where_they_are_wanted(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path, artifact_location=str(tmp_path / "elsewhere"))
    logger.experiment.log_text(logger.run_id, "fine", "notes.txt")
    assert (tmp_path / "elsewhere" / str(logger.run_id) / "artifacts/notes.txt").exists()


def test_folders_of_files_are_refused_by_mlflow_with_its_way_out(tmp_path: Path) -> None:
    with pytest.raises(MlflowException, match="MLFLOW_ALLOW_FILE_STORE"):
        MLFlowLogger(tracking_uri=f"file:{tmp_path}").log_metrics({"loss": 1.0})


def test_a_run_is_continued_by_its_run_id(tmp_path: Path) -> None:
    first = MLFlowLogger(save_dir=tmp_path)
    first.log_metrics({"loss": 1.0}, step=0)
    first.finalize("failed")
    second = MLFlowLogger(save_dir=tmp_path, run_id=first.run_id)
    second.log_metrics({"loss": 2.0}, step=1)
    assert only_run(tmp_path).info.status == "RUNNING"
    second.finalize("success")
    assert history(tmp_path, "loss") == [(0, 1.0), (1, 2.0)]
    assert only_run(tmp_path).info.status == "FINISHED"
    assert second.version == first.run_id


@pytest.mark.parametrize("version", ["job-17", "it's"])
def test_a_run_is_continued_by_its_version(tmp_path: Path, version: str) -> None:
    for step in range(2):
        MLFlowLogger(save_dir=tmp_path, version=version).log_metrics({"loss": 1.0}, step=step)
    MLFlowLogger(save_dir=tmp_path / "other", version=version).log_metrics({"loss": 1.0}, step=7)
    assert history(tmp_path, "loss") == [(0, 1.0), (1, 1.0)]
    assert history(tmp_path / "other", "loss") == [(7, 1.0)]


def test_loggers_without_a_version_have_runs_of_their_own(tmp_path: Path) -> None:
    for _ in range(2):
        MLFlowLogger(save_dir=tmp_path).log_metrics({"loss": 1.0}, step=0)
    assert len(runs(tmp_path)) == 2


def test_testing_after_fitting_goes_on_in_the_same_run(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path)
    running = trainer(tmp_path, logger=logger, enable_checkpointing=False)
    running.fit(Line())
    running.validate(Line())
    assert len(history(tmp_path, "val_loss")) == 2
    assert only_run(tmp_path).info.status == "FINISHED"


class LooksTooEarly:
    """A client that hasn't seen yet what another job has just made."""

    def __init__(self, real: MlflowClient) -> None:
        self.create_experiment = real.create_experiment
        self.answers = chain([lambda _: None], repeat(real.get_experiment_by_name))

    def get_experiment_by_name(self, name: str) -> Any:
        return next(self.answers)(name)


def test_an_experiment_that_another_job_has_just_made_is_used(tmp_path: Path) -> None:
    logger = MLFlowLogger("new", save_dir=tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    experiment = MLFlowExperiment("new", f"sqlite:///{tmp_path}/mlflow.db", folder=None, artifact_location=None)
    assert experiment.id(LooksTooEarly(client(tmp_path))) == logger.experiment_id


def test_of_two_ranks_only_the_first_talks_to_mlflow_and_the_parent_finds_its_run(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path)
    trainer(tmp_path, logger=logger, strategy="ddp_spawn", devices=2, enable_checkpointing=False).fit(Line())
    assert [step for step, _ in history(tmp_path, "loss")] == [0, 1]
    assert only_run(tmp_path).info.run_id == logger.run_id


def test_a_copy_belongs_to_the_same_run(tmp_path: Path) -> None:
    logger = MLFlowLogger(save_dir=tmp_path)
    copied = pickle.loads(pickle.dumps(logger))
    assert copied.version == logger.version
    assert copied.run_id == logger.run_id


def test_the_name_stands_for_it(tmp_path: Path) -> None:
    logger = resolve("loggers", "mlflow")(save_dir=tmp_path, version="4711")
    assert (logger.version, logger.save_dir) == ("4711", str(tmp_path))


# --- checkpoints, and how runs end ---


def fit_and_send(folder: Path, log_model: Any, **checkpointing: Any) -> dict[str, str]:
    """Fit three epochs and return the aliases of each checkpoint that was sent."""
    logger = MLFlowLogger(save_dir=folder, log_model=log_model)
    checkpoint = ModelCheckpoint(folder / "saved", filename="{epoch}", monitor="val_loss", **checkpointing)
    trainer(folder, logger=logger, callbacks=checkpoint, max_epochs=3).fit(Line())
    artifacts = folder / "artifacts" / str(logger.run_id) / "artifacts"
    if not artifacts.exists():
        return {}
    for sent in artifacts.iterdir():
        assert sorted(file.name for file in sent.iterdir()) == ["aliases.txt", f"{sent.name}.ckpt", "metadata.yaml"]
        assert "monitor: val_loss" in (sent / "metadata.yaml").read_text()
    return {sent.name: (sent / "aliases.txt").read_text() for sent in sorted(artifacts.iterdir())}


def test_the_best_checkpoint_is_sent_when_the_run_ends_well(tmp_path: Path) -> None:
    assert fit_and_send(tmp_path, log_model=True) == {"epoch=2": "['latest', 'best']"}


@pytest.mark.parametrize(("log_model", "keep"), [("all", 1), (True, -1)])
def test_every_checkpoint_is_sent_when_all_are_asked_for_or_kept(tmp_path: Path, log_model: Any, keep: int) -> None:
    assert list(fit_and_send(tmp_path, log_model=log_model, save_top_k=keep)) == ["epoch=0", "epoch=1", "epoch=2"]


def test_no_checkpoint_is_sent_unless_asked_for(tmp_path: Path) -> None:
    assert fit_and_send(tmp_path, log_model=False) == {}


def test_a_failed_run_is_marked_and_sends_nothing(tmp_path: Path) -> None:
    class Fails(Line):
        def on_validation_end(self) -> None:
            raise ZeroDivisionError

    logger = MLFlowLogger(save_dir=tmp_path, log_model=True)
    checkpoint = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=1)
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path, logger=logger, callbacks=checkpoint).fit(Fails())
    assert only_run(tmp_path).info.status == "FAILED"
    assert not (tmp_path / "artifacts").exists()


def test_a_checkpoint_that_is_a_folder_is_sent_whole(tmp_path: Path) -> None:
    folder = tmp_path / "sharded.ckpt"
    folder.mkdir()
    (folder / "part0").write_text("weights")
    logger = MLFlowLogger(save_dir=tmp_path, log_model="all")
    logger.after_save_checkpoint(SimpleNamespace(best_model_path=str(folder), last_model_path="", dirpath=tmp_path))
    sent = tmp_path / "artifacts" / str(logger.run_id) / "artifacts/sharded/sharded.ckpt/part0"
    assert sent.read_text() == "weights"


# --- a server ---


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Start MLflow's own server and return its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/served"]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen([*command, *place], stdout=log, stderr=log)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int) -> None:
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    message = "MLflow's server didn't start"
    raise TimeoutError(message)


@pytest.mark.timeout(300)
def test_a_server_gets_metrics_and_checkpoints(tmp_path: Path, server: str) -> None:
    logger = MLFlowLogger("digits", tracking_uri=server, log_model=True, version="job-17")
    checkpoint = ModelCheckpoint(tmp_path / "saved", filename="{epoch}")
    trainer(tmp_path, logger=logger, callbacks=checkpoint).fit(Line())
    reader = MlflowClient(server)
    (run,) = reader.search_runs([str(logger.experiment_id)])
    assert (run.info.run_id, run.info.status, run.data.params) == (logger.run_id, "FINISHED", {"lr": "0.1"})
    assert [one.step for one in reader.get_metric_history(run.info.run_id, "loss")] == EXPECTED_STEPS
    assert [one.path for one in reader.list_artifacts(run.info.run_id)] == ["epoch=0"]
    assert MLFlowLogger("digits", tracking_uri=server, version="job-17").run_id == logger.run_id
