import os
import signal
import time
from pathlib import Path

import plain_job
import pytest
from programs import PLAIN_JOB, end_group, group_is_alive, run_program, start_program

from lt_interfaces import MisconfigurationException
from lt_strategies.launchers.script import ScriptLauncher

LIMIT_SECONDS = 15


def run_job(what: str, rank: int, **variables: str) -> tuple[int, str, str]:
    ended = run_program(str(PLAIN_JOB), "script", what, str(rank), **variables)
    return ended.exit_code, ended.output, ended.errors


def seconds_since(noted: Path) -> float:
    return time.time() - float(noted.read_text())


def test_every_process_runs_the_script_and_sees_the_result() -> None:
    code, output, errors = run_job("nothing", 0)
    assert code == 0, errors
    totals = [line.split(" in process ") for line in output.splitlines()]
    assert [total for total, _process in totals] == ["total 6.0"] * 2
    assert len({process for _total, process in totals}) == 2


def test_a_port_from_outside_is_used() -> None:
    assert run_job("nothing", 0, MASTER_PORT="29731")[0] == 0


@pytest.mark.parametrize("rank", [0, 1])
def test_first_failure_is_printed_once_and_last(rank: int, tmp_path: Path) -> None:
    noted = tmp_path / "time"
    code, _output, errors = run_job("raise", rank, NOTE_TIME_IN=str(noted))
    assert seconds_since(noted) < LIMIT_SECONDS
    assert code == 1
    assert errors.count("Traceback (most recent call last)") == 1
    assert errors.splitlines()[-1].endswith(f"rank {rank} failed at global step 3: the first failure of the job.")
    assert errors.splitlines()[-2].endswith("ValueError: out of order")
    assert errors.count("hooks ran on rank") == 2


def test_a_killed_process_ends_the_others(tmp_path: Path) -> None:
    noted = tmp_path / "time"
    code, _output, errors = run_job("kill", 1, NOTE_TIME_IN=str(noted))
    assert seconds_since(noted) < LIMIT_SECONDS
    assert code == 1
    assert errors.splitlines()[-1] == "rank 1 was killed by SIGKILL: the first failure of the job."
    assert "hooks ran on rank 0" in errors


def test_processes_end_when_the_first_one_is_killed(tmp_path: Path) -> None:
    noted = tmp_path / "time"
    code, _output, errors = run_job("kill", 0, NOTE_TIME_IN=str(noted))
    assert seconds_since(noted) < LIMIT_SECONDS
    assert code == -signal.SIGKILL
    assert "hooks ran on rank 1" in errors
    assert errors.splitlines()[-1].startswith("the launcher's process, which held the job's store, has ended")


def test_a_stopped_process_is_killed_in_the_end(tmp_path: Path) -> None:
    noted = tmp_path / "time"
    code, _output, errors = run_job("stop", 1, NOTE_TIME_IN=str(noted))
    assert seconds_since(noted) < plain_job.TIMEOUT.total_seconds() + LIMIT_SECONDS
    assert code == 1
    assert errors.splitlines()[-1].endswith("rank 0 failed at global step 4: the first failure of the job.")


LATER = """
import os, sys, time
sys.path.insert(0, {folder!r})
import plain_job
launcher = plain_job.new_launcher("script")
if "LOCAL_RANK" not in os.environ:
    launcher.launch(plain_job.run, "nothing", 0)
else:
    plain_job.run("nothing", 0)
{after}
"""


def run_later(tmp_path: Path, after: str) -> tuple[int, str, str]:
    script = tmp_path / "train.py"
    script.write_text(LATER.format(folder=str(PLAIN_JOB.parent), after=after))
    ended = run_program(str(script))
    return ended.exit_code, ended.output, ended.errors


def test_processes_go_on_with_the_rest_of_the_script(tmp_path: Path) -> None:
    code, output, errors = run_later(
        tmp_path, "sys.stdout.write(f\"{os.environ['LOCAL_RANK']} {plain_job.run('nothing', 0)}\\n\")"
    )
    assert code == 0, errors
    assert sorted(output.splitlines()) == ["0 6.0", "1 6.0"]


def test_a_slow_process_is_waited_for(tmp_path: Path) -> None:
    code, output, _errors = run_later(tmp_path, "if os.environ['LOCAL_RANK'] == '1': time.sleep(4); print('slow')")
    assert (code, output) == (0, "slow\n")


def test_a_process_that_fails_after_all_runs_makes_the_job_fail(tmp_path: Path) -> None:
    code, _output, errors = run_later(tmp_path, "sys.exit(7 if os.environ['LOCAL_RANK'] == '1' else 0)")
    assert code == 7
    assert errors.splitlines()[-1] == "rank 1 ended with exit code 7."


def test_a_failure_in_a_later_run_ends_all_too(tmp_path: Path) -> None:
    code, _output, errors = run_later(tmp_path, "plain_job.run('raise', 1)")
    assert code == 1
    assert errors.count("Traceback (most recent call last)") == 1
    assert errors.splitlines()[-1].endswith("rank 1 failed at global step 3: the first failure of the job.")


def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    noted = tmp_path / "time"
    process = start_program(str(PLAIN_JOB), "script", "sleep", "1", NOTE_TIME_IN=str(noted))
    try:
        deadline = time.monotonic() + 60
        while not noted.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode != 0
        assert not group_is_alive(process)
    finally:
        end_group(process)


def test_several_nodes_need_a_place_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    launcher = ScriptLauncher(plain_job.PlainEnvironment(), num_local_processes=2, num_nodes=2)
    with pytest.raises(MisconfigurationException, match="`num_nodes=2` needs `MASTER_ADDR` and `MASTER_PORT`"):
        launcher.launch(print)


def test_only_local_rank_zero_starts_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(RuntimeError, match="only local rank 0"):
        plain_job.new_launcher("script").launch(print)


def test_two_nodes_meet_at_the_first_ones_store() -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29733"}
    script = f"""
import sys
sys.path.insert(0, {str(PLAIN_JOB.parent)!r})
import os, plain_job
from lt_strategies.launchers.script import ScriptLauncher
launcher = ScriptLauncher(plain_job.PlainEnvironment(), num_local_processes=1, num_nodes=2)
os.environ["RANK"] = os.environ["NODE_RANK"]
print(launcher.launch(plain_job.run, "nothing", 0))
"""
    nodes = [start_program("-c", script, NODE_RANK=str(node), **place) for node in range(2)]
    try:
        for node in nodes:
            output, errors = node.communicate(timeout=60)
            assert output == "6.0\n", errors
    finally:
        for node in nodes:
            end_group(node)
