import stat
import subprocess
import sys
from pathlib import Path

from slurm_cluster import write_configuration
from workspace import ROOT


def test_without_slurm_and_means_to_install_it_the_command_is_skipped_aloud(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/slurm_cluster.py"), "run", "--", "false"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: ")
    assert "apt-get install slurm-wlm munge" in done.stdout


def test_all_that_a_cluster_writes_is_in_its_folder(tmp_path: Path) -> None:
    lines = write_configuration(tmp_path).read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    written = {name: value for name, value in settings.items() if "/" in value and name.startswith(("Slurm", "State"))}
    assert len(written) == 6
    assert all(value.startswith(str(tmp_path)) for value in written.values())
    assert stat.S_IMODE((tmp_path / "munge.key").stat().st_mode) == 0o400
