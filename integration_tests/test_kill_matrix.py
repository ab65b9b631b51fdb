"""Runs killed with SIGKILL at random moments and resumed until done end as runs that nobody interrupted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "run_kill_matrix.py"


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
@pytest.mark.timeout(300)
def test_killed_runs_resume_bit_for_bit() -> None:
    # Two kills per run: the whole matrix, with more of them, is `hatch run kill-matrix`.
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--kills", "2"],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
