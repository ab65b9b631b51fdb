"""Programs run for what they print and how they end."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PLAIN_JOB = Path(__file__).parent / "plain_job.py"
_OURS = ("LOCAL_RANK", "WORLD_SIZE", "RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "LT_STORE_HOSTED")


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    exit_code: int
    output: str
    errors: str
    seconds: float


def run_program(*arguments: str, timeout_seconds: float = 60, **variables: str) -> Ended:
    """Run a Python program in a process group of its own, and make sure that nothing of it is left."""
    began = time.monotonic()
    process = start_program(*arguments, **variables)
    try:
        output, errors = process.communicate(timeout=timeout_seconds)
    finally:
        orphans = end_group(process)
    assert not orphans, errors
    return Ended(process.returncode, output, errors, time.monotonic() - began)


def start_program(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a Python program in a process group of its own."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**inherited, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group_is_alive(process: subprocess.Popen[str]) -> bool:
    """Say whether a process of the program's group still runs; ended ones that nobody has asked about don't."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == process.pid and state not in "ZX":
            return True
    return False


def end_group(process: subprocess.Popen[str], seconds: float = 1.0) -> bool:
    """Kill what's left of a program's processes; says whether there was anything after some time."""
    deadline = time.monotonic() + seconds
    while group_is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not group_is_alive(process):
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    return True
