import multiprocessing
import os
import subprocess
import sys
import threading
import warnings

import pytest

from lt_checkpoint_io.background import BackgroundWork


def fail() -> None:
    message = "disk full"
    raise OSError(message)


def test_work_is_done_in_order_on_one_other_thread() -> None:
    work, done = BackgroundWork(), []
    for number in range(20):
        work.add(lambda number=number: done.append((number, threading.current_thread())))  # type: ignore[misc]
    work.close()
    assert [number for number, _ in done] == list(range(20))
    (thread,) = {thread for _, thread in done}
    assert thread is not threading.current_thread()


def test_what_follows_a_failure_is_skipped_until_somebody_was_told() -> None:
    work, done = BackgroundWork(), list[int]()
    work.add(fail)
    work.add(lambda: done.append(1))
    work.wait()
    with pytest.raises(OSError, match="disk full"):
        work.raise_failure()
    work.raise_failure()
    work.add(lambda: done.append(2))
    work.close()
    assert done == [2]


def test_nothing_waits_behind_a_failure_when_it_is_raised() -> None:
    """What was added before the failure was known must not be done because it was raised meanwhile."""
    for _ in range(200):
        work, done = BackgroundWork(), list[int]()
        work.add(fail)
        for _ in range(5):
            work.add(lambda done=done: done.append(1))  # type: ignore[misc]
        while True:
            try:
                work.raise_failure()
            except OSError:
                break
        work.close()
        assert done == []


def test_a_failure_keeps_its_traceback() -> None:
    work = BackgroundWork()
    work.add(fail)
    work.wait()
    with pytest.raises(OSError, match="disk full") as caught:
        work.raise_failure()
    assert caught.traceback[-1].name == "fail"


def test_it_works_again_after_it_was_closed() -> None:
    work, done = BackgroundWork(), list[int]()
    for number in (1, 2):
        work.add(lambda number=number: done.append(number))  # type: ignore[misc]
        work.close()
    assert done == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_meanwhile_exits_at_once() -> None:
    work, gate = BackgroundWork(), threading.Event()
    work.add(lambda: gate.wait(30) and None)
    child = multiprocessing.get_context("fork").Process(target=int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what newer Pythons say of forks beside threads
        child.start()
    child.join(10)
    gate.set()
    work.close()
    assert child.exitcode == 0


def test_a_failure_nobody_asked_for_is_printed_at_exit() -> None:
    program = """
from lt_checkpoint_io.background import BackgroundWork
work = BackgroundWork()
work.add(lambda: 1 / 0)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "ZeroDivisionError" in ended.stderr
