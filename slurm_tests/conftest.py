"""Lets the tests of this folder import the modules beside them, and skips them where there's no cluster."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# `job_script.py` and what reads its files serve the tests of real processes, with a scheduler or without.
sys.path[:0] = [str(HERE), str(HERE.parent / "integration_tests")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the cluster of `hatch run test-slurm`, and give the rest time to start a job twice."""
    for item in items:
        item.add_marker(pytest.mark.timeout(300))
    if "SLURM_CONF" in os.environ:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="needs a cluster: hatch run test-slurm"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[list[int], float]]:
    """Return what a job trains on that nobody interrupts."""
    # Imported here: the path is set above.
    from jobs import trained
    from queue_jobs import TWO_NODES, submitted, training

    folder = tmp_path_factory.mktemp("undisturbed")
    with submitted(folder, training(folder), *TWO_NODES) as job:
        assert job.wait_for_end() == "COMPLETED", job.report()
    return trained(folder)
