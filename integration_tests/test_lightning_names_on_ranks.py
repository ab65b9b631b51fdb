"""Processes that our launchers start for a program written for Lightning know its names too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "lightning_script.py"


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_started_processes_know_lightnings_names(tmp_path: Path, strategy: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LT_COMPAT"}
    ran = subprocess.run(
        [sys.executable, "-m", "lt_compat", "run", str(SCRIPT), strategy],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for rank in range(2):
        assert (tmp_path / f"rank{rank}.txt").read_text() == "lt_core.trainer 2 2"
    assert (tmp_path / "kept/epoch=0-step=2.ckpt").exists()
