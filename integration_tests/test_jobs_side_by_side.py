"""Several jobs at a time on one machine."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs import run_job, trained


def test_jobs_started_at_once_keep_apart(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(run_job, tmp_path / str(number), "ddp", "--steps", "3") for number in range(3)]
    assert [job.result().returncode for job in jobs] == [0, 0, 0], [job.result().stderr for job in jobs]
    assert trained(tmp_path / "0") == trained(tmp_path / "1") == trained(tmp_path / "2")
