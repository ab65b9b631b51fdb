"""What becomes of a job that SLURM tells something, or ends."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from jobs import trained
from queue_jobs import TWO_NODES, ask, submitted, training

Trained = dict[int, tuple[list[int], float]]
STEPS = 20
SLOWLY = "--step-seconds=0.3"
CLEARING_SECONDS = 10
"""What slurmd takes to clear a job's processes away, of which SLURM's programs tell nothing."""


def test_a_job_on_two_nodes_trains_to_its_end(undisturbed: Trained) -> None:
    assert sorted(undisturbed) == list(range(STEPS))


def test_an_announced_end_queues_the_job_again_and_it_goes_on_exactly(tmp_path: Path, undisturbed: Trained) -> None:
    with submitted(tmp_path, training(tmp_path, SLOWLY), *TWO_NODES, "--requeue") as job:
        job.wait_for_steps(3)
        job.tell("USR1")
        job.wait_until(lambda: job.fields()["Restarts"] == "1", "queued again")
        file = checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
        first_life = trained(tmp_path)
        assert file["global_step"] == len(first_life) < STEPS
        job.wait_until(lambda: job.state == "PENDING", "waiting for its second life")
        # By itself it would wait two minutes; but a node can't take a job whose first life is still being cleared away.
        time.sleep(CLEARING_SECONDS)
        ask("scontrol", "update", f"JobId={job.name}", "StartTime=now")
        assert job.wait_for_end() == "COMPLETED", job.report()
    second_life = trained(tmp_path, life=1)
    assert min(second_life) == len(first_life)
    assert first_life | second_life == undisturbed


def test_a_job_that_may_not_be_queued_again_says_so_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    with submitted(tmp_path, training(tmp_path, SLOWLY), *TWO_NODES, "--no-requeue") as job:
        job.wait_for_steps(3)
        job.tell("USR1")
        assert job.wait_for_end() == "FAILED"
        told = job.report()
    assert "Requested operation is presently disabled" in told
    assert told.count("Traceback") == 2, told  # what SLURM's program ended with, and what that means
    assert checkpoint(tmp_path / "hpc_ckpt_1.ckpt")["global_step"] == len(trained(tmp_path))


@pytest.mark.parametrize("signal", ["TERM", None], ids=["signal", "scancel"])
def test_a_job_told_to_end_commits_a_checkpoint_and_stays_ended(tmp_path: Path, signal: str | None) -> None:
    with submitted(tmp_path, training(tmp_path, SLOWLY), *TWO_NODES, "--requeue") as job:
        job.wait_for_steps(3)
        if signal is None:
            ask("scancel", job.name)
        else:
            job.tell(signal)
        assert job.wait_for_end() == ("CANCELLED" if signal is None else "FAILED"), job.report()
        assert job.fields()["Restarts"] == "0"
    file = checkpoint(tmp_path / "checkpoints/preempted.ckpt")
    assert file["global_step"] == len(trained(tmp_path)) < STEPS
    assert not list(tmp_path.glob("hpc_ckpt_*"))


def checkpoint(path: Path) -> dict[str, Any]:
    file: dict[str, Any] = torch.load(path, weights_only=True)
    return file
