"""A job that's told to end by a signal commits one checkpoint, and its next start goes on exactly."""

import re
import signal
from pathlib import Path

import pytest
import torch
from jobs import TORCHRUN, run_job, trained

TOLD = 143
"""128 and the number of SIGTERM: the exit code of whoever ended as told."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[list[int], float]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_job(folder, "ddp_fork").returncode == 0
    return trained(folder)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork"])
@pytest.mark.parametrize("rank", [1, -1], ids=["one rank", "all ranks"])
def test_a_signal_ends_all_ranks_at_one_step_with_one_checkpoint(tmp_path: Path, strategy: str, rank: int) -> None:
    ended = run_job(tmp_path, strategy, "--signal-at", "5", "--signal-rank", str(rank))
    assert ended.returncode == TOLD, ended.stderr
    assert "Traceback" not in ended.stderr
    steps = {rank: len((tmp_path / f"rank{rank}-0.jsonl").read_text().splitlines()) for rank in range(2)}
    # What one rank alone knows reaches the other at the next boundary; what all know is honoured at once.
    assert steps == dict.fromkeys(range(2), 6 if rank == -1 else 7)
    file = torch.load(tmp_path / "checkpoints/preempted.ckpt", weights_only=True)
    assert file["global_step"] == steps[0]


def test_the_next_start_goes_on_exactly(tmp_path: Path, undisturbed: dict[int, tuple[list[int], float]]) -> None:
    assert run_job(tmp_path, "ddp_fork", "--signal-at", "5").returncode == TOLD
    resumed = run_job(tmp_path, "ddp_fork", "--ckpt-path", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert trained(tmp_path) == undisturbed


def test_under_torchrun_a_signal_to_one_rank_ends_all(tmp_path: Path) -> None:
    ended = run_job(tmp_path, "ddp", "--signal-at", "5", "--signal-rank", "1", before=TORCHRUN)
    assert ended.returncode != 0
    codes = {int(code) for code in re.findall(r"exitcode *: (-?\d+)", ended.stderr)}
    # The first to end makes torchrun send SIGTERM to the other, which may be leaving Python by then.
    assert TOLD in codes <= {TOLD, -signal.SIGTERM}
    assert torch.load(tmp_path / "checkpoints/preempted.ckpt", weights_only=True)["global_step"] == 7
