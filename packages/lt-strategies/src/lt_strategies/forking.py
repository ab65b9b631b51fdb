"""Forks in a process whose process group works in threads: as data loaders make them for their workers."""

import os
import sys
import time
from functools import cache
from typing import Final

_PAUSE_SECONDS: Final = 0.001


@cache
def make_forks_safe() -> None:
    """Let every further fork of this process wait a moment for the threads of gloo; once per process.

    A gloo thread that gives back the tensor of a collective registers with Python for that moment, under a lock that
    isn't the GIL. Up to Python 3.11 a child forked right then finds that lock taken by a thread it doesn't have, and
    waits for ever: a worker of a data loader that never gives a batch. Seen once in some hundred forks on a busy
    machine.
    """
    if sys.version_info < (3, 12) and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_let_threads_finish)


def _let_threads_finish() -> None:
    time.sleep(_PAUSE_SECONDS)  # releases the GIL, which a thread that has registered waits for
    sys._current_frames()  # takes that very lock: whoever has it still is waited for
