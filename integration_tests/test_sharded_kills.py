"""A job whose ranks each write a part of every checkpoint loses one at any moment, and goes on exactly."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jobs import SCRIPT, TORCHRUN, run_job, trained

STEPS = 20
pytestmark = pytest.mark.timeout(300)  # four jobs, one after the other, in the longest of these tests


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[list[int], float]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = run_job(folder, "fsdp_sharded", before=TORCHRUN)
    assert ended.returncode == 0, ended.stderr
    steps = trained(folder)
    assert list(steps) == list(range(STEPS))
    return steps


@pytest.mark.parametrize("options", [(), ("--in-background",)], ids=["at once", "in the background"])
def test_after_a_kill_it_goes_on_from_its_last_whole_checkpoint(
    tmp_path: Path, undisturbed: dict[int, tuple[list[int], float]], options: tuple[str, ...]
) -> None:
    ended = run_job(
        tmp_path,
        "fsdp_sharded",
        *("--kill-at", "9", "--ckpt-path", "last", *options),
        before=(*TORCHRUN, "--max-restarts=1"),
    )
    assert ended.returncode == 0, ended.stderr
    first, second = trained(tmp_path, life=0), trained(tmp_path, life=1)
    assert {step: first[step] for step in range(9)} == {step: undisturbed[step] for step in range(9)}
    # Checkpoints are saved every second step; one that was under way when a rank was killed doesn't count.
    assert min(second) in ((6, 8) if options else (8,))
    assert {step: undisturbed[step] for step in second} == second
    assert max(second) == STEPS - 1


@pytest.mark.nightly
def test_killed_again_and_again_at_any_moment_each_rank_repeats_what_it_did(tmp_path: Path) -> None:
    """The whole job is killed while it trains and saves in the background, and started again by hand."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_job(whole, "fsdp_sharded", before=TORCHRUN).returncode == 0
    options = ("--ckpt-path", "last", "--in-background", "--step-seconds", "0.05")
    moments = random.Random(7)
    for kill in range(2):
        kill_after(killed, 4 * (kill + 1), moments.uniform(0, 0.4), "fsdp_sharded", *options)
    assert run_job(killed, "fsdp_sharded", *options, before=TORCHRUN).returncode == 0
    for rank in range(2):
        expected = {entry["step"]: entry for entry in entries(whole, rank)}
        found = entries(killed, rank)
        assert all(entry == expected[entry["step"]] for entry in found)
        assert {entry["step"] for entry in found} == set(range(STEPS))


def kill_after(folder: Path, num_steps: int, seconds: float, *arguments: str) -> None:
    """Kill all processes of a job once rank 0 has written down so many steps in all, and some time has passed."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *TORCHRUN, str(SCRIPT), str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as job:
        deadline = time.monotonic() + 60
        while len(entries(folder, 0)) < num_steps and time.monotonic() < deadline and job.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        processes = [job.pid, *children_of(job.pid)]
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    direct = [int(child) for child in listed.read_text().split()] if listed.exists() else []
    return [*direct, *(below for child in direct for below in children_of(child))]


def entries(folder: Path, rank: int) -> list[dict[str, Any]]:
    file = folder / f"rank{rank}-0.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
