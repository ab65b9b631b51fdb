import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import plain_job
import pytest
import torch
from programs import PLAIN_JOB, end_group, group_is_alive, run_program, start_program

from lt_interfaces import MisconfigurationException
from lt_interfaces.testing.launcher import LauncherContract
from lt_strategies.failure.record import ProcessEndedError
from lt_strategies.launchers.processes import ProcessLauncher

LIMIT_SECONDS = 15


def new_launcher(start_method: str = "forkserver") -> Any:
    return plain_job.new_launcher(start_method)


class TestLauncherContract(LauncherContract):
    @pytest.fixture
    def launcher(self) -> ProcessLauncher:
        launcher: ProcessLauncher = new_launcher()
        return launcher


def total(launcher: Any, what: str = "nothing", rank: int = 0) -> Any:
    return launcher.launch(plain_job.run, what, rank)


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_processes_form_a_job(start_method: str) -> None:
    assert total(new_launcher(start_method)) == 6.0


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_a_program_starts_a_job(start_method: str) -> None:
    ended = run_program(str(PLAIN_JOB), start_method, "nothing", "0")
    assert (ended.exit_code, ended.output[:9]) == (0, "total 6.0"), ended.errors


def test_a_second_launch_works() -> None:
    launcher = new_launcher()
    assert [total(launcher), total(launcher)] == [6.0, 6.0]


def test_caller_is_told_that_its_objects_stay_as_they_were() -> None:
    assert not new_launcher().returns_results


def test_only_forked_processes_work_in_a_notebook() -> None:
    assert new_launcher("fork").is_interactive_compatible
    assert not new_launcher("spawn").is_interactive_compatible


def test_callers_environment_stays_as_it_was() -> None:
    before = dict(os.environ)
    total(new_launcher())
    assert dict(os.environ) == before


# --- failures ---


@pytest.mark.parametrize("rank", [0, 1])
def test_failure_keeps_its_type_and_brings_its_traceback(rank: int) -> None:
    with pytest.raises(ValueError, match="out of order") as raised:
        total(new_launcher(), "raise", rank)
    assert raised.value.__notes__ == [f"rank {rank} failed at global step 3: the first failure of the job."]
    assert "in _happen" in str(raised.value.__cause__)


class Unpicklable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def fail_with(name: str) -> None:
    if name == "unpicklable":
        message = "one", "two"
        raise Unpicklable(*message)
    if name == "exit well":
        sys.exit(0)
    if name == "leave":
        os._exit(5)
    if name == "preempted":
        sys.exit(143)


def test_a_failure_that_cannot_be_sent_is_told_of() -> None:
    with pytest.raises(RuntimeError, match="Unpicklable: one and two") as raised:
        new_launcher().launch(fail_with, "unpicklable")
    assert "in fail_with" in str(raised.value.__cause__)


def test_leaving_in_the_middle_is_a_failure() -> None:
    with pytest.raises(ProcessEndedError, match=r"rank \d called `sys.exit\(3\)`"):
        total(new_launcher(), "exit", 1)


def test_leaving_well_in_the_middle_is_a_failure_too() -> None:
    with pytest.raises(ProcessEndedError, match=r"called `sys.exit\(0\)`"):
        new_launcher().launch(fail_with, "exit well")


def test_an_exit_that_all_agree_on_is_the_callers_too() -> None:
    with pytest.raises(SystemExit) as raised:
        new_launcher().launch(fail_with, "preempted")
    assert raised.value.code == 143


def test_a_process_that_leaves_without_a_word_is_named_with_its_code() -> None:
    with pytest.raises(ProcessEndedError, match=r"rank \d ended with exit code 5"):
        new_launcher().launch(fail_with, "leave")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_named(rank: int) -> None:
    with pytest.raises(ProcessEndedError, match=f"rank {rank} was killed by SIGKILL"):
        total(new_launcher(), "kill", rank)


def test_failure_is_printed_once_and_last(tmp_path: Path) -> None:
    noted = tmp_path / "time"
    ended = run_program(str(PLAIN_JOB), "spawn", "raise", "1", NOTE_TIME_IN=str(noted))
    assert time.time() - float(noted.read_text()) < LIMIT_SECONDS
    assert ended.exit_code == 1
    assert ended.errors.count("in _happen") == 1
    assert ended.errors.count("hooks ran on rank") == 2
    assert ended.errors.splitlines()[-2:] == [
        "ValueError: out of order",
        "rank 1 failed at global step 3: the first failure of the job.",
    ]


def test_a_stopped_process_is_killed_in_the_end(tmp_path: Path) -> None:
    noted = tmp_path / "time"
    ended = run_program(str(PLAIN_JOB), "spawn", "stop", "1", NOTE_TIME_IN=str(noted))
    assert time.time() - float(noted.read_text()) < plain_job.TIMEOUT.total_seconds() + LIMIT_SECONDS
    assert ended.exit_code == 1
    assert "rank 0 failed at global step 4" in ended.errors.splitlines()[-1]


def started_and_sleeping(tmp_path: Path, start_method: str) -> Any:
    noted = tmp_path / "time"
    process = start_program(str(PLAIN_JOB), start_method, "sleep", "1", NOTE_TIME_IN=str(noted))
    deadline = time.monotonic() + 60
    while not noted.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(
    ("start_method", "signum"), [("spawn", signal.SIGKILL), ("fork", signal.SIGINT), ("fork", signal.SIGKILL)]
)
def test_no_process_outlives_the_program(start_method: str, signum: signal.Signals, tmp_path: Path) -> None:
    process = started_and_sleeping(tmp_path, start_method)
    try:
        process.send_signal(signum)
        process.communicate(timeout=LIMIT_SECONDS)
        deadline = time.monotonic() + LIMIT_SECONDS
        while group_is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not group_is_alive(process)
    finally:
        end_group(process)


def sleep_long() -> None:
    time.sleep(60)


def test_signals_are_passed_on() -> None:
    launcher = new_launcher()
    threading.Timer(5, launcher.kill, [signal.SIGKILL]).start()
    with pytest.raises(ProcessEndedError, match="was killed by SIGKILL"):
        launcher.launch(sleep_long)


# --- what processes need ---


def settings_seen() -> tuple[Any, ...]:
    return torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(), torch.rand(2)


def test_processes_take_over_torchs_settings() -> None:
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    try:
        dtype, _deterministic, drawn = new_launcher().launch(settings_seen)
        assert dtype is torch.float64
        assert torch.equal(drawn, torch.rand(2))
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_cannot_be_sent_is_named_with_the_way_out() -> None:
    with pytest.raises(MisconfigurationException, match=r"can't be sent.*lambda.*`strategy='ddp'`"):
        new_launcher().launch(lambda: None)


def return_lambda() -> Any:
    return lambda: None


def test_a_result_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="What the function returned can't be sent"):
        new_launcher().launch(return_lambda)


UNGUARDED = """
import sys
sys.path.insert(0, {folder!r})
import plain_job
plain_job.new_launcher("spawn").launch(plain_job.run, "nothing", 0)
"""


def test_a_script_without_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(UNGUARDED.format(folder=str(PLAIN_JOB.parent)))
    ended = run_program(str(script))
    assert ended.exit_code == 1
    assert 'Put the part that runs under `if __name__ == "__main__":`' in ended.errors.splitlines()[-2]
    # as it was in the new process, and as it's raised here; but no third time by another process
    assert ended.errors.count("The script starts processes while") == 2


def test_fork_after_cuda_was_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match=r"CUDA has been used in this process already.*`strategy='ddp_spawn'`"):
        total(new_launcher("fork"))


def test_a_start_method_that_the_platform_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(ValueError, match=r"`start_method='fork'` isn't available.*only 'spawn'"):
        new_launcher("fork")


AFTER_OPENMP = """
import sys
sys.path.insert(0, {folder!r})
import plain_job, torch
torch.set_num_threads(2)
big = torch.rand(500, 500)
big @ big
torch.exp(torch.rand(1_000_000)).sum()
def work():
    return float(torch.exp(torch.zeros(1_000_000)).sum())
print(plain_job.new_launcher("fork").launch(work))
"""


def test_fork_after_work_of_several_threads_does_not_hang() -> None:
    ended = run_program("-c", AFTER_OPENMP.format(folder=str(PLAIN_JOB.parent)), OMP_NUM_THREADS="2")
    assert ended.output == "1000000.0\n", ended.errors
