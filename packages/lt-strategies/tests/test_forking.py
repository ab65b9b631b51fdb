"""Forks wait for threads that are registering with Python, where Python itself doesn't."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, time
from lt_strategies.forking import make_forks_safe

waits, sleep = [], time.sleep
time.sleep = lambda seconds: waits.append(seconds)

def forked():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return len(waits)

print(forked())
make_forks_safe()
make_forks_safe()
print(forked())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there's no fork")
def test_each_fork_waits_once_from_then_on() -> None:
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["0", "1" if sys.version_info < (3, 12) else "0"]
