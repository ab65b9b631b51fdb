import signal
import subprocess
import sys
import time

from lt_strategies.launchers.children import Child, end_children, signal_name, wait_for_end

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def start(program: str) -> tuple[subprocess.Popen[bytes], Child]:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    return process, Child(rank=1, pid=process.pid, exit_code=process.poll)


def test_child_says_how_it_ended() -> None:
    for program, ending in (
        ("raise SystemExit(3)", "rank 1 ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "rank 1 was killed by SIGKILL"),
    ):
        process, child = start(program)
        with process:
            assert wait_for_end([child], 30)
            assert child.ending == ending


def test_a_signal_without_name_is_named_by_number() -> None:
    assert signal_name(signal.SIGRTMIN + 3) == f"signal {signal.SIGRTMIN + 3}"


def test_children_that_end_by_themselves_are_left_alone() -> None:
    process, child = start("import time; time.sleep(0.3)")
    with process:
        end_children([child], patience_seconds=30)
        assert process.returncode == 0


def test_children_are_told_to_end_after_some_time() -> None:
    process, child = start("import time; time.sleep(60)")
    with process:
        end_children([child], patience_seconds=0.2)
        assert process.returncode == -signal.SIGTERM


def test_children_that_do_not_listen_are_killed() -> None:
    process, child = start(STUBBORN)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        end_children([child], patience_seconds=0.2)
        assert process.returncode == -signal.SIGKILL
        assert time.monotonic() - began < 5


def test_a_signal_to_a_child_that_has_ended_goes_nowhere() -> None:
    process, child = start("")
    with process:
        wait_for_end([child], 30)
        child.send(signal.SIGKILL)
        assert child.ending == "rank 1 ended with exit code 0"
