"""Processes that a launcher started end when the launcher's process does."""

import os
import threading
import time
from typing import Final

PARENT_PROCESS: Final = "LT_PARENT_PID"
"""Names the process whose end is the end of this one."""

_POLL_SECONDS: Final = 0.3
_GUARDED: Final[set[int]] = set()


def parent_is_gone() -> bool:
    """Say whether the launcher that started this process has ended; ``False`` where no launcher did."""
    parent = os.environ.get(PARENT_PROCESS)
    return parent is not None and os.getppid() != int(parent)


def end_with_parent(grace_seconds: float) -> None:
    """End this process soon after its launcher's process ended, whatever it's doing then.

    Where a run is on, its watch sees the same and has the grace for hooks; this is for all other times, and for a watch
    that's stuck. Called again it does nothing.
    """
    if PARENT_PROCESS not in os.environ or os.getpid() in _GUARDED:
        return
    _GUARDED.add(os.getpid())
    threading.Thread(target=_guard, args=(grace_seconds,), name="lt-parent-guard", daemon=True).start()


def _guard(grace_seconds: float) -> None:
    while not parent_is_gone():
        time.sleep(_POLL_SECONDS)
    time.sleep(grace_seconds)
    os._exit(1)
