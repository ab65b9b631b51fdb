"""Callbacks and loggers of two ranks do their work once, and all ranks know the same afterwards."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from callback_ranks import train

from lt_interfaces.testing.ranks import run_in_processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@cache
def on_ranks(folder: Path) -> list[dict[str, Any]]:
    """Train with everything switched on, in one job, as starting its processes is what takes time."""
    return run_in_processes(train, str(folder), timeout_seconds=100)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name.split(".vm.")[0].split("tfevents")[0] for path in folder.rglob("*") if path.is_file())


def test_loggers_write_on_rank_0_into_one_folder(folder: Path) -> None:
    first, second = on_ranks(folder)
    assert first["versions"] == second["versions"] == [0, 0]
    assert first["log_dir"] == second["log_dir"] == str(folder / "csv" / "version_0")
    assert [path.name for path in sorted(folder.glob("*/version_*"))] == ["version_0"] * 3
    assert files_in(folder / "board") == ["events.out.", "hparams.yaml"]


def test_each_row_is_written_once(folder: Path) -> None:
    on_ranks(folder)
    rows = (folder / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows))
    names, *values = [row.split(",") for row in rows]
    validated = [row[names.index("val")] for row in values if row[names.index("val")]]
    assert [float(value) for value in validated] == [1.5, 0.5, 1.5]  # means over ranks


def test_all_ranks_know_the_same_checkpoints(folder: Path) -> None:
    first, second = on_ranks(folder)
    for known in ("best", "last", "kept", "scores"):
        assert first[known] == second[known]
    checkpoints = folder / "csv" / "version_0" / "checkpoints"
    assert first["best"] == str(checkpoints / "epoch=1-step=4.ckpt")
    assert first["scores"] == [1.5, 0.5]
    assert files_in(checkpoints) == ["epoch=0-step=2.ckpt", "epoch=1-step=4.ckpt", "last.ckpt"]


def test_all_ranks_stop_early_together(folder: Path) -> None:
    for rank in on_ranks(folder):
        assert rank["epochs"] == 3
        assert rank["stopped"] == (2, 1)


def test_what_one_rank_asks_for_is_done_by_all_at_the_next_step(folder: Path) -> None:
    first, second = on_ranks(folder)
    assert first["second"] == second["second"]
    assert first["second"]["steps"] == 6


def test_only_rank_0_prints(folder: Path) -> None:
    first, second = on_ranks(folder)
    assert second["printed"] == ""
    assert first["printed"].count("said once") == first["printed"].count("said by rank 0") == 1
    assert first["printed"].count("Epoch 1:") >= 1
    assert (first["rank_zero_only"], second["rank_zero_only"]) == ("rank 0", None)
