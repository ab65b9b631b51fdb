import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.multiprocessing import ProcessRaisedException

sys.path.insert(0, str(Path(__file__).parent))  # for the processes, too

import rank_checks  # lies there

from lt_interfaces.testing import run_in_processes  # as above


def test_each_process_is_told_its_rank_and_has_tensors_of_its_own() -> None:
    found = run_in_processes(rank_checks.place, torch.zeros(1), world_size=3)
    for rank, (told, threads, tensor) in enumerate(found):
        assert told == {"LOCAL_RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1"}
        assert threads == 1
        assert tensor.item() == rank


def test_processes_of_a_job_meet_on_one_port() -> None:
    first, second = run_in_processes(rank_checks.ports)
    assert first == second


def test_first_failure_is_raised_and_the_others_are_ended() -> None:
    start = time.monotonic()
    with pytest.raises(ProcessRaisedException, match="rank 1 can't"):
        run_in_processes(rank_checks.fail, timeout_seconds=50)
    assert time.monotonic() - start < 45


def test_ranks_that_hang_are_named_and_ended_and_say_where_they_stand() -> None:
    # In a process of its own, as the server that starts ranks keeps writing where the first test of them all did.
    script = (
        "import rank_checks, lt_interfaces.testing as ours; ours.run_in_processes(rank_checks.hang, timeout_seconds=6)"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=False)
    assert "TimeoutError: After 6 s the ranks [1] haven't ended." in ended.stderr
    assert re.search(r'rank_checks.py", line \d+ in hang', ended.stderr)
