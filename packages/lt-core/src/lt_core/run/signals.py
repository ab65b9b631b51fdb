"""Signals by which whoever manages the machine asks the process to end; the run ends at the next step boundary."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Signals:
    """What the operating system told this process during a run. A handler only sets flags."""

    def __init__(self) -> None:
        self.received_sigterm = False
        """Whether the process was told to end: SIGTERM came, or SIGUSR1 where nobody else waits for that."""
        self.received_requeue = False
        """Whether the scheduler announced the job's end, and the job is to be put into the queue again."""
        self.is_agreed = False
        """Whether every rank knows of it, so that this boundary is the one to end at."""
        self.on_signal: Callable[[int], None] | None = None
        """Called from the handler with the signal's number, so it does next to nothing."""

    @property
    def is_told_to_end(self) -> bool:
        """Whether any of the signals came to this process."""
        return self.received_sigterm or self.received_requeue

    @contextmanager
    def heard(self, requeue_signal: signal.Signals | None = None) -> Iterator[None]:
        """Listen within the context, beside the handlers that were there before, which are put back at the end.

        Python lets only the main thread set handlers; in another thread nothing changes.

        Args:
            requeue_signal: what a scheduler sends before it ends the job, if the job may be queued again.
        """
        self.received_sigterm = self.received_requeue = self.is_agreed = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.getsignal(signum) for signum in self._awaited(requeue_signal)}
        for signum, handler in before.items():
            _set_handler(signum, self._noting(handler, is_requeue=signum == requeue_signal))
        try:
            yield
        finally:
            for signum, handler in before.items():
                _set_handler(signum, handler)

    def _awaited(self, requeue_signal: signal.Signals | None) -> set[signal.Signals]:
        awaited = {signal.SIGTERM}
        if requeue_signal is not None:
            awaited.add(requeue_signal)
        # It would kill the process; a handler of the user's has a meaning of its own.
        if hasattr(signal, "SIGUSR1") and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
            awaited.add(signal.SIGUSR1)
        return awaited

    def _noting(self, before: Any, *, is_requeue: bool) -> Callable[[int, FrameType | None], None]:
        def note(signum: int, frame: FrameType | None) -> None:
            if is_requeue:
                self.received_requeue = True
            else:
                self.received_sigterm = True
            if self.on_signal is not None:
                self.on_signal(signum)
            if callable(before):
                before(signum, frame)

        return note


def _set_handler(signum: int, handler: Any) -> None:
    # None stands for a handler that wasn't set from Python and can't be put back from here.
    signal.signal(signum, signal.SIG_DFL if handler is None else handler)
