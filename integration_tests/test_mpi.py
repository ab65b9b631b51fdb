"""Processes that Open MPI's mpirun has started train as one job."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jobs import SCRIPT, run_job, trained

MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2")

WHO_AM_I = """
import json, os, sys
from pathlib import Path
from lt_interfaces import plugins
before = dict(os.environ)
environment = plugins.detect("environments")()
rank = environment.global_rank()
found = {
    "kind": type(environment).__name__,
    "ranks": [rank, environment.local_rank(), environment.node_rank(), environment.world_size()],
    "meeting": [environment.main_address, environment.main_port],
    "leaves_variables": dict(os.environ) != before,
    "loads_mpi4py": "mpi4py" in sys.modules,
}
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(found))
"""

# MPICH has an mpirun too, which doesn't take the options above.
pytestmark = pytest.mark.skipif(
    shutil.which("ompi_info") is None, reason="needs Open MPI: `apt-get install openmpi-bin`"
)


def mpirun(*command: str) -> None:
    """Run Python in two processes; the test fails if one of them fails."""
    started_by = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_", "SLURM_", "OMPI_", "PMIX_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(started_by)}
    done = subprocess.run(
        [*MPIRUN, sys.executable, *command],
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ask_who_they_are(folder: Path) -> list[dict[str, Any]]:
    folder.mkdir()
    mpirun("-c", WHO_AM_I, str(folder))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """Return what the ranks of two jobs said that ran at once."""
    folder = tmp_path_factory.mktemp("jobs")
    with ThreadPoolExecutor() as threads:
        return list(threads.map(ask_who_they_are, (folder / "first", folder / "second")))


def test_ranks_come_from_mpirun_without_mpi4py(jobs: list[list[dict[str, Any]]]) -> None:
    for ranks in jobs:
        assert [rank["kind"] for rank in ranks] == ["MPIEnvironment"] * 2
        assert [rank["ranks"] for rank in ranks] == [[0, 0, 0, 2], [1, 1, 0, 2]]
        assert not any(rank["leaves_variables"] or rank["loads_mpi4py"] for rank in ranks)


def test_each_job_has_a_meeting_point_of_its_own(jobs: list[list[dict[str, Any]]]) -> None:
    meetings = [[rank["meeting"] for rank in ranks] for ranks in jobs]
    assert meetings[0][0] == meetings[0][1]
    assert meetings[1][0] == meetings[1][1]
    assert meetings[0][0] != meetings[1][0]


def test_a_job_of_mpiruns_trains_as_one_that_we_start(tmp_path: Path) -> None:
    assert run_job(tmp_path / "ours", "ddp_fork").returncode == 0
    (tmp_path / "mpi").mkdir()
    mpirun(str(SCRIPT), str(tmp_path / "mpi"), "ddp")
    assert trained(tmp_path / "mpi") == trained(tmp_path / "ours")
