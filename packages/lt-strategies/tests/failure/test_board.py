import threading
import time
from datetime import timedelta

import pytest

from lt_strategies.failure.board import FailureBoard
from lt_strategies.failure.parentage import PARENT_PROCESS
from lt_strategies.failure.record import FailureRecord
from lt_strategies.job_store import JobStore

SHORT = timedelta(seconds=30)
KILLED = FailureRecord.of_end("rank 1 was killed by SIGKILL", rank=1)


def failed(rank: int) -> FailureRecord:
    return FailureRecord(f"rank {rank} failed", rank=rank)


@pytest.fixture
def store() -> JobStore:
    return JobStore.host("127.0.0.1", timeout=SHORT)


def test_nothing_has_failed_at_first(store: JobStore) -> None:
    assert FailureBoard(store, run=0).first() is None


def test_only_the_first_failure_is_kept(store: JobStore) -> None:
    one, other = FailureBoard(store, run=0), FailureBoard(store, run=0)
    assert one.post(failed(1)) == failed(1)
    assert other.post(failed(0)) == failed(1)
    assert other.first() == failed(1)


def test_a_later_run_starts_without_failures(store: JobStore) -> None:
    FailureBoard(store, run=0).post(failed(1))
    assert FailureBoard(store, run=1).first() is None


def test_a_process_that_has_ended_is_missed_in_every_run(store: JobStore) -> None:
    FailureBoard(store, run=None).post_end(KILLED)
    assert FailureBoard(store, run=0).first() == KILLED
    assert FailureBoard(store, run=1).first() == KILLED


def test_what_a_rank_said_counts_more_than_that_it_ended(store: JobStore) -> None:
    board = FailureBoard(store, run=0)
    board.post_end(KILLED)
    board.post(failed(1))
    assert board.first() == failed(1)


def test_launcher_reads_the_first_failure_of_the_last_run(store: JobStore) -> None:
    launcher = FailureBoard(store, run=None)
    assert launcher.latest() is None
    FailureBoard(store, run=3).post(failed(1))
    FailureBoard(store, run=3).post(failed(0))
    assert launcher.latest() == failed(1)


def test_waiting_ends_with_the_first_failure(store: JobStore) -> None:
    board = FailureBoard(store, run=0)
    threading.Timer(0.2, FailureBoard(store, run=0).post, [failed(1)]).start()
    assert board.wait_for_first(10) == failed(1)


def test_waiting_has_an_end(store: JobStore) -> None:
    assert FailureBoard(store, run=0).wait_for_first(0.1) is None


def test_the_end_of_the_store_is_a_failure_of_who_held_it() -> None:
    store = JobStore.host("127.0.0.1", timeout=SHORT)
    board = FailureBoard(store, run=0)
    del store
    found = board.wait_for_first(5)
    assert found is not None
    assert found.headline == "the launcher's process, which held the job's store, has ended"


def test_the_end_of_the_launchers_process_is_a_failure(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_PROCESS, "1")
    found = FailureBoard(store, run=0).first()
    assert found is not None
    assert found.headline == "the launcher's process, which held the job's store, has ended"


def holder_and_other() -> tuple[JobStore, FailureBoard, FailureBoard]:
    with_port = JobStore.host("127.0.0.1", timeout=SHORT)
    port = with_port.port
    del with_port
    held = JobStore.open("127.0.0.1", port, rank=0, world_size=2, timeout=SHORT)
    return held, FailureBoard(held, run=0, world_size=2), FailureBoard(held, run=0, world_size=2)


def test_rank_zero_leaves_after_the_others() -> None:
    _held, holder, other = holder_and_other()
    threading.Timer(0.3, lambda: other.leave(patience_seconds=0)).start()
    began = time.monotonic()
    holder.leave(patience_seconds=10)
    assert 0.2 < time.monotonic() - began < 5


def test_rank_zero_does_not_wait_for_ever() -> None:
    _held, holder, _other = holder_and_other()
    began = time.monotonic()
    holder.leave(patience_seconds=0.2)
    assert time.monotonic() - began < 3
