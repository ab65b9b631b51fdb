import csv
import json
import os
import pickle
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_only
from lt_interfaces.reinstantiation import read_hyperparameters
from lt_loggers import CSVLogger


def text_of(logger: CSVLogger) -> str:
    return (Path(logger.log_dir) / "metrics.csv").read_text()


def test_files_go_into_a_numbered_version_of_the_experiment(tmp_path: Path) -> None:
    for version in range(2):
        logger = CSVLogger(tmp_path, name="digits")
        logger.log_metrics({"loss": 0.5}, step=0)
        logger.finalize("success")
        assert logger.version == version
        assert (tmp_path / "digits" / f"version_{version}" / "metrics.csv").exists()


def test_string_version_is_the_folder_and_no_name_means_no_folder(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name=None, version="best")
    assert (logger.name, logger.version) == ("", "best")
    assert logger.root_dir == logger.save_dir == str(tmp_path)
    assert logger.log_dir == str(tmp_path / "best")


def test_looking_at_folders_writes_nothing(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "runs")
    assert (logger.name, logger.version) == ("lightning_logs", 0)
    assert logger.log_dir == str(tmp_path / "runs" / "lightning_logs" / "version_0")
    logger.save()
    logger.finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_root_dir_is_another_name_for_save_dir(tmp_path: Path) -> None:
    assert CSVLogger(root_dir=tmp_path).save_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "save_dir"),
        ({"save_dir": "a", "root_dir": "b"}, "root_dir"),
        ({"save_dir": "s3://bucket/runs"}, "save_dir"),
        ({"save_dir": "a", "flush_logs_every_n_steps": 0}, "flush_logs_every_n_steps"),
        ({"save_dir": "a", "flush_logs_every_n_steps": 1.5}, "flush_logs_every_n_steps"),
        ({"save_dir": "a", "flush_logs_every_n_steps": True}, "flush_logs_every_n_steps"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"`{named}"):
        CSVLogger(**arguments)


def test_integers_stay_integers(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"tokens": 2**53 + 1, "epoch": 3}, step=0)
    logger.save()
    assert text_of(logger) == f"epoch,step,tokens\n3,0,{2**53 + 1}\n"


def test_tensors_of_one_number_are_taken(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": torch.tensor(0.5), "count": torch.tensor([7])}, step=0)
    logger.save()
    assert text_of(logger) == "count,loss,step\n7,0.5,0\n"


def test_prefix_stands_before_names_but_not_before_step(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, prefix="teacher")
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.save()
    assert text_of(logger) == "step,teacher-loss\n0,0.5\n"


def test_rows_without_step_count_on(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, version=0)
    logger.log_metrics({"loss": 3.0})
    logger.log_metrics({"loss": 2.0})
    logger.finalize("success")
    logger.log_metrics({"loss": 1.0})
    logger.save()
    assert text_of(logger) == "loss,step\n3.0,0\n2.0,1\n1.0,2\n"


def test_metric_named_step_is_not_dropped_silently(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    with pytest.warns(UserWarning, match="`step`"):
        logger.log_metrics({"step": 9, "loss": 0.5}, step=2)
    logger.save()
    assert text_of(logger) == "loss,step\n0.5,2\n"


def test_rows_are_written_when_the_step_has_advanced_enough(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=100)
    for step in (49, 99):
        logger.log_metrics({"loss": 0.5}, step=step)
    assert not Path(logger.log_dir).exists()
    logger.log_metrics({"loss": 0.5}, step=149)
    assert text_of(logger).count("\n") == 4
    for step in (199, 248):
        logger.log_metrics({"loss": 0.5}, step=step)
    assert text_of(logger).count("\n") == 4
    logger.log_metrics({"loss": 0.5}, step=249)
    assert text_of(logger).count("\n") == 7


def test_rows_at_one_step_do_not_pile_up(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=3)
    for _ in range(3):
        logger.log_metrics({"loss": 0.5}, step=0)
    assert text_of(logger).count("\n") == 4


@pytest.mark.parametrize("status", ["success", "failed"])
def test_end_of_run_writes_what_waits(tmp_path: Path, status: str) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.finalize(status)
    assert text_of(logger) == "loss,step\n0.5,0\n"


def test_checkpoint_writes_what_waits(tmp_path: Path) -> None:
    class Checkpoints:
        best_model_path = ""
        last_model_path = ""
        dirpath = None

    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.after_save_checkpoint(Checkpoints())
    assert text_of(logger) == "loss,step\n0.5,0\n"


def test_existing_version_is_continued(tmp_path: Path) -> None:
    for step in range(2):
        logger = CSVLogger(tmp_path, version=0)
        logger.log_metrics({"loss": 0.5}, step=step)
        logger.finalize("success")
    assert text_of(logger) == "loss,step\n0.5,0\n0.5,1\n"


def test_second_fit_of_one_logger_resumes_without_repeating_rows(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    for first, status in ((0, "failed"), (2, "success")):
        for step in range(first, 4):
            logger.log_metrics({"loss": 1.0 - step / 8}, step=step)
        logger.finalize(status)
    assert [row["step"] for row in csv.DictReader(text_of(logger).splitlines())] == ["0", "1", "2", "3"]


def test_steps_and_epoch_rows_come_in_the_order_of_the_calls(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    for step in range(4):
        logger.log_metrics({"lr-SGD": 0.1}, step=step)
        logger.log_metrics({"loss_step": 0.5, "epoch": 0}, step=step)
    logger.log_metrics({"loss_epoch": 0.5, "epoch": 0}, step=3)
    logger.save()
    rows = list(csv.DictReader(text_of(logger).splitlines()))
    assert [row["step"] for row in rows] == ["0", "0", "1", "1", "2", "2", "3", "3", "3"]
    assert [name for row in rows[-3:] for name in ("lr-SGD", "loss_step", "loss_epoch") if row[name]] == [
        *("lr-SGD", "loss_step", "loss_epoch")
    ]


def test_hyperparameters_are_on_disk_at_once_and_add_up(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_hyperparams(Namespace(layers=(8, 4)))
    assert read_hyperparameters(Path(logger.log_dir) / "hparams.yaml") == {"lr": 0.1, "layers": [8, 4]}


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"loss": 0.5}, step=5)
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def test_logger_travels_to_other_processes(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.save()
    received = pickle.loads(pickle.dumps(logger))
    received.log_metrics({"loss": 0.25}, step=1)
    received.save()
    assert text_of(logger) == "loss,step\n0.5,0\n0.25,1\n"


KILLED_PROGRAM = """
import sys
from itertools import count

from lt_loggers import CSVLogger

logger = CSVLogger(sys.argv[1], version=0, flush_logs_every_n_steps=10)
for step in count():
    logger.log_metrics({f"metric_{step // 50}": step / 7, "epoch": step // 50}, step=step)
    if step % 25 == 24:
        logger.save()
        print(step, flush=True)
"""


def test_kill_loses_no_flushed_row(tmp_path: Path) -> None:
    program = [sys.executable, "-c", KILLED_PROGRAM, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        flushed = [int(next(process.stdout)) for _ in range(8)][-1]
        os.kill(process.pid, signal.SIGKILL)
        flushed = max([flushed, *(int(line) for line in process.stdout if line.endswith("\n"))])
    logger = CSVLogger(tmp_path, version=0)
    logger.log_metrics({"epoch": -1}, step=-1)
    logger.save()
    rows = [{name: json.loads(cell) for name, cell in row.items() if cell} for row in _rows(logger)]
    expected = [{f"metric_{step // 50}": step / 7, "epoch": step // 50, "step": step} for step in range(len(rows) - 1)]
    assert rows[:-1] == expected
    assert len(rows) - 1 > flushed


def _rows(logger: CSVLogger) -> list[dict[str, str]]:
    return list(csv.DictReader(text_of(logger).splitlines()))
