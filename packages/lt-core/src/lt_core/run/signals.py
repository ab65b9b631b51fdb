"""SIGTERM: whoever manages the machine asks the process to end; the run ends at the next step boundary."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Signals:
    """What the operating system told this process during a run. A handler only sets the flag."""

    def __init__(self) -> None:
        self.received_sigterm = False
        self.on_sigterm: Callable[[], None] | None = None
        """Called from the handler, so it does nothing but set a flag of its own."""

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen within the context, beside the handler that was there before, which is put back at the end.

        Python lets only the main thread set handlers; in another thread nothing changes.
        """
        self.received_sigterm = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGTERM)

        def note(signum: int, frame: FrameType | None) -> None:
            self.received_sigterm = True
            if self.on_sigterm is not None:
                self.on_sigterm()
            if callable(before):
                before(signum, frame)

        _set_handler(note)
        try:
            yield
        finally:
            _set_handler(before)


def _set_handler(handler: Any) -> None:
    # None stands for a handler that wasn't set from Python and can't be put back from here.
    signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)
