"""Gloo's own threads, which must have given all tensors back before Python ends."""

import contextlib
import time
from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")
_NAME: Final = "pt_gloo_runloop"
_LOOK_SECONDS: Final = 0.002


def wait_until_idle(patience_seconds: float = 5.0) -> None:
    """Wait until gloo's threads of this process have nothing to do; in a process without them this returns at once.

    After a collective its thread gives the tensor back, which takes the GIL. Where that comes so late that Python ends
    meanwhile, Python (up to 3.13) ends the thread in the middle of C++, and that the whole process: "terminate called
    without an active exception". Destroying the group waits for its threads only if nobody else holds the group, and
    `DistributedDataParallel` does.

    A thread is idle that sleeps and hasn't run while this one left the GIL to it. Where the system doesn't say what
    threads do (it's Linux that does), nothing is waited for.

    Args:
        patience_seconds: when to go on all the same; one may wait for another rank that never comes.
    """
    deadline = time.monotonic() + patience_seconds
    before = _gloo_threads()
    while before and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)  # releases the GIL
        now = _gloo_threads()
        if now == before and not any("R (running)" in status for status in now.values()):
            return
        before = now


def _gloo_threads() -> dict[str, str]:
    """Return the state of gloo's threads, and how often each has run: what changes when a thread does anything."""
    if not _THREADS.exists():
        return {}
    found = {}
    for thread in _THREADS.iterdir():
        with contextlib.suppress(OSError):  # one has ended meanwhile
            status = (thread / "status").read_text()
            if status.startswith(f"Name:\t{_NAME}\n"):
                found[thread.name] = _state_of(status)
    return found


def _state_of(status: str) -> str:
    return "\n".join(line for line in status.splitlines() if line.startswith("State") or "ctxt_switches" in line)
