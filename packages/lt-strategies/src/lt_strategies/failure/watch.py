"""The watch that each rank keeps over its job during a run."""

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lt_strategies.failure.board import FailureBoard
from lt_strategies.failure.collective_log import COLLECTIVES
from lt_strategies.failure.interruption import MainThreadInterruption
from lt_strategies.failure.lost_connection import is_lost_connection
from lt_strategies.failure.parentage import end_with_parent
from lt_strategies.failure.record import FailureRecord, PeerFailure
from lt_strategies.failure.report import REPORTER
from lt_strategies.job_store import JobStore

POLL_SECONDS: Final = 0.2
_BETTER_RECORD_SECONDS: Final = 1.0
_LEAVERS_SECONDS: Final = 3.0


class FailureWatch:
    """Ends this process when another one of the job fails, and the others when this one does.

    A thread looks at the job's store. After the first failure it closes the connections of the process group, which
    frees the ranks that wait for this one, lets the main thread raise `PeerFailure`, and gives it some time for hooks;
    a process that's still there then is ended.

    Args:
        store: the job's store.
        rank: of this process.
        world_size: number of ranks.
        abort: closes the connections of the process group; may be called twice, and from any thread.
        grace_seconds: the time that hooks have after the first failure.
    """

    def __init__(
        self, store: JobStore, *, rank: int, world_size: int, abort: Callable[[], None], grace_seconds: float = 2.0
    ) -> None:
        self._rank: Final = rank
        self._abort: Final = abort
        self._grace_seconds: Final = grace_seconds
        self._board: Final = FailureBoard(store, run=store.next_run(), world_size=world_size)
        self._thread: Final = threading.Thread(target=self._watch, name="lt-failure-watch", daemon=True)
        self._is_over: Final = threading.Event()
        self._is_handled: Final = threading.Event()
        self._interruption: Final = MainThreadInterruption(self._may_interrupt)

    def start(self) -> None:
        """Start watching; on the main thread, that can be interrupted."""
        end_with_parent(self._grace_seconds + 1)
        REPORTER.install()
        COLLECTIVES.install_if_wanted()
        REPORTER.during_run(lambda failure: self.announce(failure, step=None))
        self._interruption.install()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching: the run is over, well or badly.

        Where rank 0 holds the store, it waits some seconds for the others to stop as well.
        """
        self._is_over.set()
        REPORTER.during_run(None)
        self._thread.join(timeout=_LEAVERS_SECONDS)
        self._interruption.uninstall()
        self._board.leave(patience_seconds=_LEAVERS_SECONDS)

    def announce(self, failure: BaseException, *, step: int | None) -> BaseException:
        """Tell the other ranks of a failure, and return what to raise for it here: see `Strategy.announce_failure`."""
        self._is_handled.set()
        if isinstance(failure, PeerFailure):
            return failure
        first = self._board.first() or self._better_than(failure) or self._board.post(self._describe(failure, step))
        self._abort()
        if first.rank != self._rank:
            return PeerFailure(first)
        if first.places:
            failure.add_note(first.places)
        failure.add_note(first.note)
        REPORTER.own_failure(failure, first)
        return failure

    def _describe(self, failure: BaseException, step: int | None) -> FailureRecord:
        what = "failed"
        if is_lost_connection(failure):
            what = "lost its connection to another rank, which probably died,"
        record = FailureRecord.of_exception(failure, rank=self._rank, step=step, what=what)
        if not COLLECTIVES.is_on:
            return record
        self._board.show(self._rank, COLLECTIVES.describe())
        return replace(record, places=self._board.shown())

    def _better_than(self, failure: BaseException) -> FailureRecord | None:
        """Wait a moment for the record of the rank whose end closed a connection of ours."""
        if not is_lost_connection(failure):
            return None
        self._abort()  # ranks that wait for this one needn't wait for that
        return self._board.wait_for_first(_BETTER_RECORD_SECONDS)

    def _may_interrupt(self) -> bool:
        return not self._is_handled.is_set() and not self._is_over.is_set()

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            if COLLECTIVES.is_on:
                self._board.show(self._rank, COLLECTIVES.describe())
            first = self._board.first()
            if first is not None:
                self._end_after(first)
                return

    def _end_after(self, first: FailureRecord) -> None:
        self._abort()
        if self._may_interrupt():
            self._interruption.raise_in_main(PeerFailure(first))
        if not self._is_over.wait(self._grace_seconds):
            self._end_process(first)

    def _end_process(self, first: FailureRecord) -> None:
        how = "was stuck in native code and ended without its hooks"
        if self._is_handled.is_set():
            how = f"was ended {self._grace_seconds:g} s after the first failure: its hooks weren't done"
        sys.stderr.write(f"rank {self._rank} {how}.\n")
        REPORTER.at_forced_end(first)
        self._board.leave(patience_seconds=_LEAVERS_SECONDS)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
