"""Work done in order on one background thread, whose failure is raised once where somebody asks for it."""

import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


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
        self._newest = self._thread.submit(self._run, work)

    def wait(self) -> None:
        """Wait until everything that was added is over, however it went."""
        if self._newest is not None:
            self._newest.result()

    def raise_failure(self) -> None:
        """Raise the failure that nobody has been told of yet; never waits for work that may still succeed."""
        if not self._failures:
            return
        self.wait()  # what was added after the failure is being skipped, which takes no time
        raise self._failures.pop()

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


def _print_all(failures: list[BaseException]) -> None:
    for failure in failures:
        traceback.print_exception(failure)
