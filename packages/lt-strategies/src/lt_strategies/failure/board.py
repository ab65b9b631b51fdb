"""The place in a job's store where failures are written down."""

import contextlib
import time
from typing import Final

from torch._C._distributed_c10d import PrefixStore, Store

from lt_strategies.failure.lifeline import Lifeline
from lt_strategies.failure.parentage import parent_is_gone
from lt_strategies.failure.record import FailureRecord
from lt_strategies.job_store import JobStore

_POLL_SECONDS: Final = 0.05
_ENDED: Final = "ended process"
_LATEST: Final = "latest"


class FailureBoard:
    """What one process reads and writes of failures, through connections of its own.

    Each run has its own first failure, so that a program may go on after one. The end of a process is for good.

    Args:
        job_store: the job's store.
        run: number of the run, the same on every rank; ``None``: only the ends of processes.
        world_size: number of ranks.
    """

    def __init__(self, job_store: JobStore, *, run: int | None, world_size: int = 1) -> None:
        self._store: Final[Store] = PrefixStore(job_store.prefix("failures"), job_store.new_client())
        self._lifeline: Final = Lifeline(job_store.address, job_store.port)
        self._holder: Final = job_store.holder
        self._is_held_here: Final = job_store.is_held_here
        self._run: Final = run
        self._world_size: Final = world_size
        self._holder_may_leave = False

    def first(self) -> FailureRecord | None:
        """Return the first failure known so far; the end of the store itself is one."""
        if parent_is_gone():
            return FailureRecord.of_store_end("the launcher's process")
        if self._lifeline.has_ended():
            return self._end_of_holder()
        try:
            return self._read()
        except RuntimeError:  # torch's errors of connections are
            return self._end_of_holder()

    def _read(self) -> FailureRecord | None:
        for key in (f"run {self._run}", _ENDED):
            if self._store.check([key]):
                return FailureRecord.from_text(self._store.get(key).decode())
        self._holder_may_leave = self._holder_may_leave or self._store.check([f"holder left {self._run}"])
        return None

    def _end_of_holder(self) -> FailureRecord | None:
        if self._holder_may_leave:
            return None
        return FailureRecord.of_store_end(self._holder)

    def wait_for_first(self, seconds: float) -> FailureRecord | None:
        """Return the first failure once there's one; ``None`` when there's none after that time."""
        deadline = time.monotonic() + seconds
        while (record := self.first()) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return record

    def latest(self) -> FailureRecord | None:
        """Return the first failure of the last run that had one."""
        with contextlib.suppress(RuntimeError):
            if self._store.check([_LATEST]):
                return FailureRecord.from_text(self._store.get(_LATEST).decode())
        return None

    def post(self, record: FailureRecord) -> FailureRecord:
        """Write a failure of this run down if it's the first, and return the one that was."""
        first = self._post(f"run {self._run}", record)
        if first == record:
            with contextlib.suppress(RuntimeError):
                self._store.set(_LATEST, record.to_text())
        return first

    def post_end(self, record: FailureRecord) -> FailureRecord:
        """Write down that a process has ended, if it's the first."""
        return self._post(_ENDED, record)

    def _post(self, key: str, record: FailureRecord) -> FailureRecord:
        try:
            self._require_holder()
            return FailureRecord.from_text(self._store.compare_set(key, "", record.to_text()).decode())
        except (RuntimeError, ConnectionError):
            return self._end_of_holder() or record

    def _require_holder(self) -> None:
        if self._lifeline.has_ended():
            message = "The job's store has ended."
            raise ConnectionError(message)

    def show(self, rank: int, place: str) -> None:
        """Let the others know where this rank is."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"place {self._run}/{rank}", place)

    def shown(self) -> str:
        """Return where the ranks are, a line for each that has said so."""
        lines = []
        with contextlib.suppress(RuntimeError):
            for rank in range(self._world_size):
                if self._store.check([key := f"place {self._run}/{rank}"]):
                    lines.append(f"rank {rank} {self._store.get(key).decode()}")
        return "\n".join(lines)

    def leave(self, *, patience_seconds: float) -> None:
        """Say that this process looks no more; where rank 0 holds the store, it waits for the others to say so."""
        waits = self._is_held_here and self._holder == "rank 0"
        with contextlib.suppress(RuntimeError, ConnectionError):  # there's nobody to tell any more
            self._require_holder()
            self._store.add(f"left {self._run}", 1)
            if waits:
                self._store.set(f"holder left {self._run}", "")
                self._wait_for_leavers(patience_seconds)
        self._lifeline.close()

    def _wait_for_leavers(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while self._store.add(f"left {self._run}", 0) < self._world_size and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
