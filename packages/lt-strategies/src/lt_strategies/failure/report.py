"""Who prints the first failure of a job, and that it's the last thing printed."""

import atexit
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from lt_strategies.failure.record import FailureRecord, PeerFailure
from lt_strategies.job_store import STORE_HOSTED


class Reporter:
    """Prints the first failure where this process speaks for the job, and nothing of what follows from it.

    The launcher's process speaks for a job that a launcher started; elsewhere (torchrun, SLURM) it's the rank that
    failed first.
    """

    def __init__(self) -> None:
        self._end_children: Callable[[], None] | None = None
        self._own: BaseException | None = None
        self._announce: Callable[[BaseException], BaseException] | None = None
        self._previous: Callable[..., Any] = sys.excepthook
        self._is_installed = False

    def install(self) -> None:
        """Take over how uncaught exceptions of this process are printed."""
        if not self._is_installed:
            self._is_installed = True
            self._previous = sys.excepthook
            sys.excepthook = self._on_uncaught

    def speak_for_children(self, end_children: Callable[[], None]) -> None:
        """Make this process the one that speaks; the function ends the others, so that they print nothing after."""
        self._end_children = end_children

    def during_run(self, announce: Callable[[BaseException], BaseException] | None) -> None:
        """Let failures that nobody caught be announced while a run is on: a loop of one's own may catch nothing."""
        self._announce = announce

    def own_failure(self, failure: BaseException, record: FailureRecord) -> None:
        """Remember that the job's first failure is this one, of this process."""
        self._own = failure
        if isinstance(failure, SystemExit):  # Python prints none, but nobody else in the job would know why it ended
            atexit.register(self.at_forced_end, record)

    def at_forced_end(self, record: FailureRecord) -> None:
        """Print the first failure where nobody else will, as this process ends without coming back to Python."""
        if self._end_children is not None:
            self._end_children()
            _print(record)
        elif self._own is not None and not _launcher_speaks():
            _print(record)

    def _on_uncaught(self, kind: type[BaseException], failure: BaseException, trace: TracebackType | None) -> None:
        if self._announce is not None and failure is not self._own:
            failure = self._announce(failure)
            kind, trace = type(failure), failure.__traceback__
        if self._end_children is not None:
            self._end_children()
        elif failure is self._own and _launcher_speaks():
            return
        if not isinstance(failure, PeerFailure):
            self._previous(kind, failure, trace)
        elif self._end_children is not None or failure.record.is_seen_by_all:
            _print(failure.record)


def _print(record: FailureRecord) -> None:
    # torch puts this process's rank before all that goes to `sys.stderr` here, but the failure may be another's.
    stream = sys.__stderr__ or sys.stderr
    sys.stderr.flush()
    stream.write(f"{record.report}\n")
    stream.flush()


def _launcher_speaks() -> bool:
    return os.environ.get(STORE_HOSTED) == "1"


REPORTER: Final = Reporter()
"""The one of this process: there's one `sys.excepthook` too."""
