import os
import subprocess
import sys
import time

import pytest

from lt_strategies.failure.parentage import PARENT_PROCESS, parent_is_gone

GUARDED = """
import sys, time
from lt_strategies.failure.parentage import end_with_parent
end_with_parent(0.2)
print("guarded", flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys
env = {{**os.environ, "LT_PARENT_PID": str(os.getpid())}}
child = subprocess.Popen([sys.executable, "-c", '''{GUARDED}'''], env=env)
print(child.pid, flush=True)
child.wait()
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_no_launcher_started_has_no_parent_to_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT_PROCESS, raising=False)
    assert not parent_is_gone()


def test_the_parent_is_missed_when_another_took_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_PROCESS, str(os.getppid()))
    assert not parent_is_gone()
    monkeypatch.setenv(PARENT_PROCESS, "1")
    assert parent_is_gone()


def test_a_process_ends_after_its_parent_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        lines.discard("guarded")
        child = int(lines.pop())
        parent.kill()
        parent.wait(timeout=10)
        deadline = time.monotonic() + 10
        while is_running(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_running(child)
