"""Work done in order on one background thread, whose failure is raised once where somebody asks for it."""

import os
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Final

_UNFINISHED: Final[set[Future[None]]] = set()


class BackgroundWork:
    """Runs functions one after another on one thread, which the interpreter waits for when it exits.

    After a failure, what was asked for since is skipped: it may rest on what failed. A failure that nobody asks for is
    printed when this object goes, at the latest when the interpreter exits.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._newest: Future[None] | None = None
        self._failures: list[BaseException] = []
        """What nobody has been told of yet: one at most."""
        weakref.finalize(self, _print_all, self._failures)

    def add(self, work: Callable[[], None]) -> None:
        """Run a function after everything that was added before, and return at once."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lt-checkpoint-io")
            _finish_before_exit()
        self._newest = self._thread.submit(self._run, work)
        _UNFINISHED.add(self._newest)
        self._newest.add_done_callback(_UNFINISHED.discard)

    def wait(self) -> None:
        """Wait until everything that was added is over, however it went."""
        if self._newest is not None:
            self._newest.result()

    def raise_failure(self) -> None:
        """Raise the failure that nobody has been told of yet; never waits for work that may still succeed."""
        failure = self.take_failure()
        if failure is not None:
            raise failure

    def take_failure(self) -> BaseException | None:
        """Return the failure that nobody has been told of yet, as `raise_failure` raises it."""
        if not self._failures:
            return None
        self.wait()  # what was added after the failure is being skipped, which takes no time
        return self._failures.pop()

    def close(self) -> None:
        """Wait, and end the thread; adding work starts a new one."""
        self.wait()
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = self._newest = None

    def _run(self, work: Callable[[], None]) -> None:
        if self._failures:
            return
        try:
            work()
        except BaseException as failure:
            self._failures.append(failure)


@cache
def _finish_before_exit() -> None:
    """Let the interpreter wait for pending work while other libraries still work.

    It joins executors when it exits anyway, but forbids all of them new work before that, and libraries that talk to
    stores resolve names in executors of their own. What's registered here runs earlier; there's no public way.
    """
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(lambda: wait(_UNFINISHED))
    if hasattr(os, "register_at_fork"):  # a forked child, such as a worker of a loader, has no part in this work
        os.register_at_fork(after_in_child=_UNFINISHED.clear)


def _print_all(failures: list[BaseException]) -> None:
    for failure in failures:
        traceback.print_exception(failure)
