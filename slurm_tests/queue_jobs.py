"""Putting jobs into the queue of a real SLURM, waiting for what becomes of them, and telling them something."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from jobs import SCRIPT

TWO_NODES: Final = ("--nodes=2", "--ntasks-per-node=1")
# Nodes of the throw-away cluster are all this machine, and no name server knows their names.
ADDRESS: Final = {"MASTER_ADDR": "127.0.0.1"}
PATIENCE_SECONDS: Final = 100.0
_ENDED: Final = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
_TELLING: Final = ("JobState", "Reason", "Restarts", "ExitCode", "StartTime", "EndTime")


def ask(*command: str, timeout_seconds: float = 30, extra: dict[str, str] | None = None) -> str:
    """Run one of SLURM's programs and return what it prints; the test fails if it fails."""
    done = _run(command, timeout_seconds, extra)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _run(
    command: Sequence[str], timeout_seconds: float = 30, extra: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=_plain_environment() | (extra or {}),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def training(folder: Path | str, *options: str) -> str:
    """Return the command line that trains `job_script.py` in one process of each of two nodes."""
    job = [str(folder), "ddp", "--devices=1", "--num-nodes=2", *options]
    # The folder may hold a variable of the batch script.
    return " ".join(["srun", sys.executable, str(SCRIPT), *(f'"{part}"' for part in job)])


@dataclass(frozen=True)
class QueueJob:
    """A job that was submitted."""

    name: str
    """Its id; that of an array's task is ``<id>_<task>``."""
    folder: Path

    @property
    def state(self) -> str:
        """What SLURM calls it: PENDING, RUNNING, COMPLETED, ..."""
        return self.fields()["JobState"]

    def fields(self) -> dict[str, str]:
        """Return what SLURM knows about the job."""
        pairs = ask("scontrol", "--oneliner", "show", "job", self.name).split()
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def tell(self, signal: str) -> None:
        """Send a signal to every task."""
        ask("scancel", f"--signal={signal}", self.name)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something, or fail the test with all that's known."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                pytest.fail(f"job {self.name}: not {what} after {PATIENCE_SECONDS:g} s\n{self.report()}")
            time.sleep(0.25)

    def wait_for_end(self) -> str:
        """Wait until the job has ended, and return the state it ended in."""
        self.wait_until(lambda: self.state in _ENDED, "at its end")
        return self.state

    def wait_for_steps(self, count: int, *, life: int = 0) -> None:
        """Wait until both ranks have trained that many steps; the test fails if the job ends before."""
        files = [self.folder / f"rank{rank}-{life}.jsonl" for rank in range(2)]

        def is_there() -> bool:
            return all(file.exists() and file.read_text().count("\n") >= count for file in files)

        self.wait_until(lambda: is_there() or self.state in _ENDED, f"at step {count}")
        assert is_there(), self.report()

    def report(self) -> str:
        """Return what one wants to read when a test fails."""
        fields = self.fields()
        told = [ask("squeue"), *(f"{name}={fields.get(name)}" for name in _TELLING)]
        told += [f"--- {file.name}\n{file.read_text()}" for file in sorted(self.folder.glob("slurm-*.out"))]
        return "\n".join(told)


@contextmanager
def submitted(folder: Path, script: str, *options: str) -> Iterator[QueueJob]:
    """Put a job into the queue, and take it out at the end of the context, whatever happened.

    Args:
        folder: where the job's output goes.
        script: what the job runs.
        options: of sbatch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "job.sh"
    file.write_text(f"#!/bin/bash\n{script}\n")
    output = f"--output={folder}/slurm-%j.out"
    name = ask("sbatch", "--parsable", output, "--open-mode=append", *options, str(file), extra=ADDRESS).strip()
    job = QueueJob(name, folder)
    try:
        yield job
    finally:
        _run(["scancel", "--signal=KILL", "--full", name])  # it may be over, which `scancel` calls an error
        _run(["scancel", name])
        job.wait_until(lambda: not ask("squeue", "--noheader"), "out of the queue")


def allocated(*command: str, options: Sequence[str] = TWO_NODES) -> str:
    """Run a command as somebody does who was given nodes by salloc; return what it prints."""
    return ask("salloc", "--quiet", *options, *command, timeout_seconds=PATIENCE_SECONDS)


def _plain_environment() -> dict[str, str]:
    """Return the environment of a user who isn't within any job."""
    job = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    kept = {name: value for name, value in os.environ.items() if name not in job}
    return kept | {"OMP_NUM_THREADS": "1"}
