"""One attempt at a run: a fork of this process, so that nothing is imported again, killed when its time is up."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    exit_code: int
    """As a shell counts, but a signal is negative."""
    is_late: bool
    """Whether it was killed because it took too long."""
    seconds: float

    @property
    def was_killed(self) -> bool:
        """Whether it was killed on purpose."""
        return self.exit_code == -signal.SIGKILL and not self.is_late


def attempt(task: Callable[[], None], *, log: Path, kill_after: float | None = None) -> Ending:
    """Run a task in a fork of this process and wait for its end.

    Args:
        task: what to run.
        log: takes what it prints, appended.
        kill_after: kill it after so many seconds.
    """
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_child(task, log)
    limit = TIMEOUT_SECONDS if kill_after is None else kill_after
    ended, status = 0, 0
    while not ended and time.monotonic() - began < limit:
        time.sleep(0.003)
        ended, status = os.waitpid(pid, os.WNOHANG)
    is_late = False
    if not ended:
        is_late = kill_after is None
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # loader workers that it left behind
    return Ending(os.waitstatus_to_exitcode(status), is_late, time.monotonic() - began)


def _be_child(task: Callable[[], None], log: Path) -> None:
    os.setpgid(0, 0)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)
    code = 1
    try:
        task()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
