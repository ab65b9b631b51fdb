import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import plain_job
import pytest
import torch.distributed as dist
from programs import run_program

from lt_interfaces.testing.ranks import run_in_processes
from lt_strategies.failure.record import PeerFailure
from lt_strategies.failure.watch import FailureWatch
from lt_strategies.job_store import JobStore


def outcome_of(happening: str, rank: int) -> tuple[str, float]:
    """Return what this rank raised, and after how long."""
    began = time.monotonic()
    try:
        plain_job.run(happening, rank)
    except (Exception, SystemExit) as failure:
        notes = getattr(failure, "__notes__", [])
        return f"{type(failure).__name__}: {failure} {notes}", time.monotonic() - began
    return "nothing", time.monotonic() - began


def test_a_run_that_goes_well_ends_without_waiting() -> None:
    for text, seconds in run_in_processes(outcome_of, "nothing", 0):
        assert text == "nothing"
        assert seconds < 5


@pytest.mark.parametrize("failing", [0, 1])
def test_every_rank_ends_with_the_first_failure(failing: int) -> None:
    outcomes = run_in_processes(outcome_of, "raise", failing)
    text, seconds = outcomes[failing]
    assert text.startswith("ValueError: out of order")
    assert f"rank {failing} failed at global step 3: the first failure of the job." in text
    other, other_seconds = outcomes[1 - failing]
    assert other.startswith(f"PeerFailure: rank {failing} failed at global step 3")
    assert "ValueError: out of order" in other
    assert max(seconds, other_seconds) < 15


def sleep_until_interrupted() -> tuple[str, float]:
    store = plain_job.join()
    began = time.monotonic()

    def step(_step: int) -> None:
        if dist.get_rank() == 0:
            time.sleep(0.5)
            message = "out of order"
            raise ValueError(message)
        time.sleep(60)

    try:
        plain_job.watched(step, store)
    except (PeerFailure, ValueError) as failure:
        return type(failure).__name__, time.monotonic() - began
    return "nothing", time.monotonic() - began


def test_a_rank_busy_in_python_is_interrupted() -> None:
    outcomes = run_in_processes(sleep_until_interrupted)
    assert [name for name, _seconds in outcomes] == ["ValueError", "PeerFailure"]
    assert max(seconds for _name, seconds in outcomes) < 10


def fail_in_first_of_two_runs() -> list[str]:
    found = []
    for happening in ("raise", "nothing"):
        found.append(outcome_of(happening, 1)[0][:12])
        plain_job.abort()
    return found


def test_a_program_that_catches_the_failure_goes_on_with_another_run() -> None:
    assert run_in_processes(fail_in_first_of_two_runs) == [["PeerFailure:", "nothing"], ["ValueError: ", "nothing"]]


# --- in this process, with another rank played by hand ---


class Peer:
    """A store with the watches of two ranks, of which only the first is started."""

    def __init__(self, grace_seconds: float = 2.0) -> None:
        self.store = JobStore.host("127.0.0.1", timeout=timedelta(seconds=30))
        self.aborted = threading.Event()
        self.watch = self._new(0, grace_seconds)
        self.store._num_runs = 0  # both ranks are in the same run
        self.other = self._new(1, grace_seconds)

    def _new(self, rank: int, grace_seconds: float) -> FailureWatch:
        return FailureWatch(self.store, rank=rank, world_size=2, abort=self.aborted.set, grace_seconds=grace_seconds)


@pytest.fixture
def peer() -> Any:
    hook = sys.excepthook
    yield Peer()
    sys.excepthook = hook


def test_own_failure_is_raised_with_rank_and_step(peer: Peer) -> None:
    failure = ValueError("out of order")
    assert peer.watch.announce(failure, step=7) is failure
    assert failure.__notes__ == ["rank 0 failed at global step 7: the first failure of the job."]
    assert peer.aborted.is_set()


def test_a_failure_after_anothers_is_replaced_by_it(peer: Peer) -> None:
    peer.other.announce(ValueError("out of order"), step=7)
    found = peer.watch.announce(RuntimeError("whatever follows"), step=7)
    assert isinstance(found, PeerFailure)
    assert "rank 1 failed at global step 7" in str(found)
    assert "out of order" in str(found)


def test_a_lost_connection_waits_for_its_cause(peer: Peer) -> None:
    threading.Timer(0.3, peer.other.announce, [ValueError("out of order")], {"step": 7}).start()
    found = peer.watch.announce(RuntimeError("Connection closed by peer"), step=7)
    assert isinstance(found, PeerFailure)
    assert "out of order" in str(found)


def test_a_lost_connection_without_cause_says_so(peer: Peer) -> None:
    failure = RuntimeError("Connection closed by peer")
    began = time.monotonic()
    assert peer.watch.announce(failure, step=7) is failure
    assert time.monotonic() - began < 5
    assert "lost its connection to another rank, which probably died, at global step 7" in failure.__notes__[0]


def test_what_was_raised_by_the_watch_is_raised_on(peer: Peer) -> None:
    peer.watch.start()
    peer.other.announce(ValueError("out of order"), step=7)
    with pytest.raises(PeerFailure) as raised:
        time.sleep(30)
    assert peer.watch.announce(raised.value, step=7) is raised.value
    peer.watch.stop()


def test_a_rank_within_its_hooks_is_not_interrupted(peer: Peer) -> None:
    peer.watch.start()
    peer.other.announce(ValueError("out of order"), step=7)
    peer.watch.announce(RuntimeError("whatever follows"), step=7)
    time.sleep(0.6)
    peer.watch.stop()


def test_after_the_run_failures_of_others_are_no_more_heard(peer: Peer) -> None:
    peer.watch.start()
    peer.watch.stop()
    peer.other.announce(ValueError("out of order"), step=7)
    time.sleep(0.5)


STUCK = """
import sys, threading, time
sys.path.insert(0, {folder!r})
from datetime import timedelta
from lt_strategies.failure.watch import FailureWatch
from lt_strategies.job_store import JobStore
store = JobStore.host("127.0.0.1", timeout=timedelta(seconds=30))
watch = FailureWatch(store, rank=0, world_size=2, abort=lambda: None, grace_seconds=0.5)
store._num_runs = 0
other = FailureWatch(store, rank=1, world_size=2, abort=lambda: None)
watch.start()
other.announce(ValueError("out of order"), step=7)
{busy}
"""

# No signal ends the wait for a mutex that one holds oneself.
DEADLOCK = """
import ctypes
mutex = ctypes.create_string_buffer(64)
lock = ctypes.CDLL(None).pthread_mutex_lock
lock(mutex)
lock(mutex)
"""


def end_of(busy: str) -> tuple[int, str]:
    ended = run_program("-c", STUCK.format(folder=str(Path(__file__).parents[1]), busy=busy))
    assert ended.seconds < 20
    return ended.exit_code, ended.errors


def test_a_rank_stuck_in_native_code_is_ended_and_says_so() -> None:
    code, errors = end_of(DEADLOCK)
    assert code == 1
    assert "rank 0 was stuck in native code and ended without its hooks." in errors


def test_hooks_that_take_too_long_are_cut_off() -> None:
    code, errors = end_of("watch.announce(RuntimeError('what follows'), step=7); time.sleep(60)")
    assert code == 1
    assert "rank 0 was ended 0.5 s after the first failure: its hooks weren't done." in errors
