"""The examples of the page about several processes run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "several_processes.py"
PAGE = ROOT / "docs" / "explanation" / "several-processes.md"


def output_of(script: Path, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_script_trains_on_two_ranks_and_prints_once(tmp_path: Path) -> None:
    printed = output_of(EXAMPLE, tmp_path)
    told = re.search(r"`(2 ranks, \d+ steps)", PAGE.read_text())
    assert told is not None
    assert printed.count(told[1]) == printed.count("ranks") == 1
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]


def test_the_loop_with_fabric_runs_on_two_ranks(tmp_path: Path) -> None:
    block = re.search(r"## With Fabric\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    script = tmp_path / "loop.py"
    script.write_text(block[1])
    assert "tensor(0.5000)" in output_of(script, tmp_path)
