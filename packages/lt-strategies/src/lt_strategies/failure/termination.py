"""A process that's told to end while its main thread is stuck: no handler of Python's would ever run in it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

PATIENCE_SECONDS: Final = 30.0
"""What schedulers and container runtimes wait by default before they kill."""
_POLL_SECONDS: Final = 0.5
# A real-time signal that neither torch nor schedulers use; where there are none, one that does nothing by itself.
_PROBE: Final = signal.SIGRTMIN + 6 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGURG", None)


_LISTENING: Final[set[int]] = set()


def _stop_listening_in_child() -> None:
    """Let a forked process, such as a loader's worker, not write its own signals into this one's pipe."""
    if os.getppid() in _LISTENING:
        _LISTENING.clear()
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stop_listening_in_child)


class TerminationGuard:
    """Notices SIGTERM in a thread of its own, and that the main thread runs no Python code after it.

    Python's handlers run in the main thread, between two of its instructions. One that waits in native code for a rank
    that never comes would ignore the signal for as long as that takes.

    Args:
        on_stuck: called, in the guard's thread, with the place at which the main thread stands; ends the process.
        patience_seconds: how long the main thread may be out of reach after the signal.
    """

    def __init__(self, on_stuck: Callable[[str], None], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._on_stuck: Final = on_stuck
        self._patience_seconds: Final = patience_seconds
        self._is_over: Final = threading.Event()
        self._answered: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._watch, name="lt-termination-guard", daemon=True)
        self._pipe: tuple[int, int] | None = None
        self._before: Any = None

    def start(self) -> None:
        """Start; elsewhere than on the main thread, or where an event loop listens so, it does nothing."""
        if _PROBE is None or threading.current_thread() is not threading.main_thread():
            return
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            os.close(reader)
            os.close(writer)
            return
        self._pipe = (reader, writer)
        _LISTENING.add(os.getpid())
        self._before = signal.signal(_PROBE, lambda *_: self._answered.set())
        self._thread.start()

    def stop(self) -> None:
        """Stop; called on the main thread."""
        if self._pipe is None or _PROBE is None:
            return
        self._is_over.set()
        self._thread.join(timeout=1)
        _LISTENING.discard(os.getpid())
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
            signal.signal(_PROBE, self._before)
        for end in self._pipe:
            os.close(end)
        self._pipe = None

    def _watch(self) -> None:
        while not self._is_over.wait(_POLL_SECONDS):
            if signal.SIGTERM in self._heard():
                self._probe_main()
                return

    def _heard(self) -> bytes:
        assert self._pipe is not None  # the thread runs between `start` and `stop`
        try:
            return os.read(self._pipe[0], 4096)
        except BlockingIOError:
            return b""

    def _probe_main(self) -> None:
        main = threading.main_thread().ident
        assert main is not None  # it runs
        answered_at = time.monotonic()
        while not self._is_over.wait(_POLL_SECONDS):
            if self._answered.is_set():
                answered_at = time.monotonic()
            elif time.monotonic() - answered_at > self._patience_seconds:
                self._on_stuck(_place_of(main))
                return
            self._answered.clear()
            signal.pthread_kill(main, _PROBE)  # type: ignore[arg-type]  # looked at in `start`


def _place_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "an unknown place"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_qualname})"
