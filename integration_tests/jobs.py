"""Running `job_script.py` in real processes, and reading what its ranks wrote down."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

SCRIPT: Final = Path(__file__).parent / "job_script.py"
TORCHRUN: Final = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def run_job(
    folder: Path, *arguments: str, before: Sequence[str] = (), timeout_seconds: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run the script to its end.

    Args:
        folder: where it writes.
        arguments: strategy and options.
        before: what stands before the script, e.g. torchrun.
        timeout_seconds: after which it's killed, and the test fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *before, str(SCRIPT), str(folder), *arguments]
    job = {"LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"}
    environment = {name: value for name, value in os.environ.items() if name not in job}
    return subprocess.run(
        command,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def trained(folder: Path, life: int = 0) -> dict[int, tuple[list[int], float]]:
    """Return what all ranks together trained on in each step: the samples, sorted, and the mean loss."""
    entries: dict[int, list[dict[str, Any]]] = {}
    for rank in range(2):
        for line in (folder / f"rank{rank}-{life}.jsonl").read_text().splitlines():
            entry = json.loads(line)
            entries.setdefault(entry["step"], []).append(entry)
    return {
        step: (
            sorted(sample for entry in both for sample in entry["samples"]),
            sum(entry["loss"] for entry in both) / len(both),
        )
        for step, both in entries.items()
    }
