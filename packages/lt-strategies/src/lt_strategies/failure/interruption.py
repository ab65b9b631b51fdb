"""Making the main thread raise an exception, from another thread."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

# A real-time signal that neither torch nor schedulers use; where there are none, one that does nothing by itself.
_SIGNAL: Final = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGURG", None)


class MainThreadInterruption:
    """Raises in the main thread what another thread hands over, between two of its Python instructions.

    A wait in Python or in the system (`time.sleep`, a queue, a socket) ends at once; native code that waits by itself
    isn't reached before it returns.

    Args:
        is_wanted: asked in the main thread at the last moment; nothing is raised if it says no.
    """

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted: Final = is_wanted
        self._failure: BaseException | None = None
        self._before: Any = None
        self._is_installed = False

    def install(self) -> None:
        """Get ready; called on the main thread, elsewhere it does nothing and `raise_in_main` neither."""
        if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
            return
        self._before = signal.signal(_SIGNAL, self._on_signal)
        self._is_installed = True

    def raise_in_main(self, failure: BaseException) -> None:
        """Let the main thread raise this."""
        if not self._is_installed or _SIGNAL is None:
            return
        self._failure = failure
        ident = threading.main_thread().ident
        assert ident is not None  # it runs
        signal.pthread_kill(ident, _SIGNAL)

    def uninstall(self) -> None:
        """Put back what was there before; no other thread may call `raise_in_main` any more."""
        if self._is_installed and _SIGNAL is not None and threading.current_thread() is threading.main_thread():
            self._is_installed = False
            signal.signal(_SIGNAL, self._before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        failure, self._failure = self._failure, None
        if failure is not None and self._is_wanted():
            raise failure
