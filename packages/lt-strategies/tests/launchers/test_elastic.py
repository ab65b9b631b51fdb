"""Jobs that torchrun starts again: nothing of their earlier life, in the agent's store, may disturb the next one."""

import pytest
from programs import PLAIN_JOB, run_program

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_job_that_lost_a_process_starts_again(rank: int) -> None:
    ended = run_program(*TORCHRUN, str(PLAIN_JOB), "outside", "kill once", str(rank), timeout_seconds=100)
    assert ended.exit_code == 0, ended.errors
    assert ended.output.count("total 6.0") == 2
