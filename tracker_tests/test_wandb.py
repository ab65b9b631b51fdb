import copy
import json
import pickle
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from small_runs import EXPECTED_STEPS, Line, trainer
from torch import nn
from wandb_files import config, history, records, run_folders, run_ids

from lt_callbacks import ModelCheckpoint
from lt_interfaces.logger import Logger
from lt_interfaces.plugins import resolve
from lt_interfaces.testing import LoggerContract
from lt_loggers import CSVLogger, WandbLogger
from lt_loggers.wandb_runs import STEP_METRIC


@pytest.fixture(autouse=True)
def _finished_runs() -> Iterator[None]:
    yield
    wandb.finish()


class TestWandbLogger(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> Logger:
        return WandbLogger(save_dir=tmp_path, offline=True)


def offline(folder: Path, **arguments: Any) -> WandbLogger:
    return WandbLogger(save_dir=folder, offline=True, **arguments)


def finish(*loggers: WandbLogger) -> None:
    for logger in loggers:
        logger.experiment.finish()


def offline_run(folder: Path) -> wandb.Run:
    """Start a run as users do by themselves."""
    return wandb.init(mode="offline", dir=folder)


# --- what's logged ---


def test_metrics_stand_on_the_axis_of_the_trainers_steps(tmp_path: Path) -> None:
    logger = offline(tmp_path, prefix="teacher")
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=7)
    logger.log_metrics({"loss": 0.25}, step=3)
    logger.log_metrics({"note": 1})
    wandb.finish()
    assert history(tmp_path) == [
        {"teacher-loss": 0.5, "teacher-epoch": 0, STEP_METRIC: 7},
        {"teacher-loss": 0.25, STEP_METRIC: 3},
        {"teacher-note": 1, STEP_METRIC: 3},
    ]
    axes = [(metric.name or metric.glob_name, metric.step_metric) for metric in records(tmp_path, "metric")]
    assert ("*", STEP_METRIC) in axes


def test_hyper_parameters_are_the_runs_config_and_may_change(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": {"act": nn.ReLU, "sizes": (8, 4)}, 3: "three"})
    logger.log_hyperparams({"lr": 0.2})
    wandb.finish()
    expected = {"lr": 0.2, "net": {"act": str(nn.ReLU), "sizes": [8, 4]}, "3": "three"}
    assert config(tmp_path).items() >= expected.items()


def test_tables_texts_images_sounds_and_videos_are_logged(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    clip = tmp_path / "clip.gif"
    clip.write_bytes(b"GIF89a")
    logger.log_table("table", columns=["a", "b"], data=[[1, 2.5]], step=1)
    logger.log_text("text", columns=["said"], data=[["hello"]], step=2)
    logger.log_image("images", [torch.rand(3, 4, 4), np.zeros((4, 4))], step=3, caption=["one", "two"])
    logger.log_audio("sounds", [np.zeros(100)], step=4, sample_rate=[8000], caption=["quiet"])
    logger.log_video("videos", [str(clip)], step=5, caption=["short"])
    wandb.finish()
    rows = {row[STEP_METRIC]: row for row in history(tmp_path)}
    assert rows[1]["table"]["_type"] == rows[2]["text"]["_type"] == "table-file"
    assert rows[3]["images"]["captions"] == ["one", "two"]
    assert rows[4]["sounds"]["audio"][0]["caption"] == "quiet"
    assert rows[5]["videos"]["videos"][0]["caption"] == "short"
    kinds = {file.suffix for file in run_folders(tmp_path)[0].rglob("media/**/*.*")}
    assert kinds == {".json", ".png", ".wav", ".gif"}


def test_watched_modules_log_their_gradients(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    model = nn.Linear(2, 1)
    logger.watch(model, log="all", log_freq=1)
    model(torch.ones(1, 2)).sum().backward()
    logger.log_metrics({"loss": 1.0}, step=0)
    wandb.finish()
    names = {name for row in history(tmp_path) for name in row}
    assert {"gradients/weight", "parameters/weight"} <= names


def test_a_trainer_logs_what_it_logs_to_csv_files(tmp_path: Path) -> None:
    loggers = [offline(tmp_path, version="first"), CSVLogger(tmp_path / "csv", version="first")]
    trainer(tmp_path, logger=loggers, enable_checkpointing=False).fit(Line(lr=0.05))
    wandb.finish()
    lines = (Path(loggers[1].log_dir or "") / "metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    written = [
        {name: float(cell) for name, cell in zip(names, line.split(","), strict=True) if cell} for line in lines[1:]
    ]
    rows = [{name.replace(STEP_METRIC, "step"): value for name, value in row.items()} for row in history(tmp_path)]
    assert rows == [pytest.approx(row) for row in written]
    assert [row["step"] for row in rows if "loss" in row] == EXPECTED_STEPS
    assert config(tmp_path)["lr"] == 0.05
    assert run_ids(tmp_path) == ["first"]


def test_wandb_log_in_the_users_code_reaches_the_run_before_anything_was_logged(tmp_path: Path) -> None:
    class Talks(Line):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters(logger=False)

        def on_train_start(self) -> None:
            wandb.log({"users": 1})

    trainer(tmp_path, logger=offline(tmp_path), enable_checkpointing=False, log_every_n_steps=4).fit(Talks())
    wandb.finish()
    assert history(tmp_path)[0]["users"] == 1


# --- whose run it is ---


def test_the_run_has_the_id_that_the_logger_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = offline(tmp_path)
    version = logger.version
    assert logger.experiment.id == version
    monkeypatch.setenv("WANDB_RUN_ID", "from-the-sweep")
    assert offline(tmp_path).version == "from-the-sweep"
    assert offline(tmp_path, version="a", id="b").version == "b"


def test_the_project_is_the_one_given_else_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offline(tmp_path).name == "lightning_logs"
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    assert offline(tmp_path).name == "digits"
    logger = offline(tmp_path, project="letters", tags=["small"])
    assert (logger.name, logger.experiment.project, logger.experiment.tags) == ("letters", "letters", ("small",))


def test_a_run_is_continued_by_its_id(tmp_path: Path) -> None:
    for step in range(2):
        offline(tmp_path, id="again").log_metrics({"loss": 1.0}, step=step)
        wandb.finish()
    assert run_ids(tmp_path) == ["again", "again"]
    assert all(run.resume for run in records(tmp_path, "run"))


def test_a_run_that_the_users_code_has_started_is_continued(tmp_path: Path) -> None:
    run = offline_run(tmp_path)
    logger = offline(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    assert (logger.version, logger.experiment) == (run.id, run)


def test_a_run_given_is_used(tmp_path: Path) -> None:
    run = offline_run(tmp_path)
    logger = WandbLogger(experiment=run, save_dir=tmp_path / "elsewhere")
    logger.log_metrics({"loss": 1.0}, step=0)
    wandb.finish()
    assert logger.version == run.id
    assert history(tmp_path) == [{"loss": 1.0, STEP_METRIC: 0}]
    assert not (tmp_path / "elsewhere").exists()


def test_one_logger_after_another_has_a_run_of_its_own_that_wandb_log_reaches(tmp_path: Path) -> None:
    first, second = offline(tmp_path, id="first"), offline(tmp_path, id="second")
    for logger in (first, second):
        logger.log_metrics({"loss": 1.0}, step=0)
        wandb.log({"users": 1})
        logger.finalize("success")
    wandb.finish()
    for run_id in ("first", "second"):
        assert [set(row) - {STEP_METRIC} for row in history(tmp_path, run_id)] == [{"loss"}, {"users"}]


def test_a_logger_goes_on_although_a_later_one_took_its_place(tmp_path: Path) -> None:
    first, second = offline(tmp_path / "a", id="first"), offline(tmp_path / "b", id="second")
    first.log_metrics({"loss": 1.0}, step=0)
    first.finalize("success")
    second.log_metrics({"loss": 2.0}, step=0)
    first.log_metrics({"test": 3.0}, step=1)
    second.log_metrics({"loss": 4.0}, step=1)
    finish(first, second)
    assert [set(row) for row in history(tmp_path / "a")] == [{"loss", STEP_METRIC}, {"test", STEP_METRIC}]
    assert [row["loss"] for row in history(tmp_path / "b", "second")] == [2.0, 4.0]


def test_two_loggers_at_once_keep_to_their_runs(tmp_path: Path) -> None:
    loggers = [offline(tmp_path, id=name, project=name) for name in ("one", "two")]
    trainer(tmp_path, logger=loggers, enable_checkpointing=False).fit(Line())
    finish(*loggers)
    assert history(tmp_path, "one") == history(tmp_path, "two")
    assert len(history(tmp_path, "one")) >= len(EXPECTED_STEPS)


def test_copies_share_the_run(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    assert pickle.loads(pickle.dumps(logger)).version == logger.version
    logger.log_metrics({"loss": 1.0}, step=0)
    assert copy.deepcopy(logger).experiment.id == logger.experiment.id
    assert len(run_folders(tmp_path)) == 1


def log_elsewhere(logger: WandbLogger) -> None:
    logger.log_metrics({"loss": 2.0}, step=1)


def test_a_process_that_gets_the_logger_writes_to_the_same_run(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    process = get_context("spawn").Process(target=log_elsewhere, args=(logger,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    logger.log_metrics({"loss": 3.0}, step=2)
    wandb.finish()
    assert [row["loss"] for row in history(tmp_path)] == [1.0, 2.0, 3.0]


def test_of_two_ranks_only_the_first_talks_to_wandb(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    trainer(tmp_path, logger=logger, strategy="ddp_spawn", devices=2, enable_checkpointing=False).fit(Line())
    assert run_ids(tmp_path) == [logger.version]
    assert [ending.exit_code for ending in records(tmp_path, "exit")] == [0]
    assert [row[STEP_METRIC] for row in history(tmp_path) if "loss" in row] == [0, 1]


def test_the_name_stands_for_it(tmp_path: Path) -> None:
    logger = resolve("loggers", "wandb")(save_dir=tmp_path, version="4711")
    assert (logger.version, logger.save_dir) == ("4711", str(tmp_path))


# --- checkpoints ---


def sent(folder: Path) -> list[tuple[list[str], str]]:
    """Return aliases and original file name of each artifact that was logged."""
    artifacts = [record for record in records(folder, "artifact") if record.type == "model"]
    assert all([content.path for content in one.manifest.contents] == ["model.ckpt"] for one in artifacts)
    return [(sorted(one.aliases), json.loads(one.metadata)["original_filename"]) for one in artifacts]


def fit_and_send(folder: Path, log_model: Any, **checkpointing: Any) -> None:
    logger = WandbLogger(experiment=offline_run(folder), save_dir=folder, log_model=log_model)
    checkpoint = ModelCheckpoint(folder / "saved", filename="{epoch}", monitor="val_loss", **checkpointing)
    trainer(folder, logger=logger, callbacks=checkpoint, max_epochs=3).fit(Line())
    wandb.finish()


def test_the_best_checkpoint_is_sent_when_the_run_ends_well(tmp_path: Path) -> None:
    fit_and_send(tmp_path, log_model=True)
    assert sent(tmp_path) == [(["best", "latest"], "epoch=2.ckpt")]


@pytest.mark.parametrize(("log_model", "keep"), [("all", 1), (True, -1)])
def test_every_checkpoint_is_sent_when_all_are_asked_for_or_kept(tmp_path: Path, log_model: Any, keep: int) -> None:
    fit_and_send(tmp_path, log_model=log_model, save_top_k=keep)
    assert [name for _, name in sent(tmp_path)] == ["epoch=0.ckpt", "epoch=1.ckpt", "epoch=2.ckpt"]


def test_a_failed_run_sends_nothing(tmp_path: Path) -> None:
    logger = WandbLogger(experiment=offline_run(tmp_path), save_dir=tmp_path, log_model=True)

    class Fails(Line):
        def on_validation_end(self) -> None:
            raise ZeroDivisionError

    checkpoint = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=1)
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path, logger=logger, callbacks=checkpoint).fit(Fails())
    wandb.finish()
    assert sent(tmp_path) == []


def test_artifacts_are_asked_of_the_run(tmp_path: Path) -> None:
    logger = offline(tmp_path)
    with pytest.raises(TypeError, match="offline"):
        logger.use_artifact("model:latest")
    with pytest.raises(TypeError, match="offline"):
        logger.download_artifact("model:latest")
