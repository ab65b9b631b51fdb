import signal
import threading
import time

import pytest

from lt_strategies.failure.interruption import MainThreadInterruption


def interrupt_after(interruption: MainThreadInterruption, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, interruption.raise_in_main, [ValueError("from elsewhere")])
    timer.start()
    return timer


def test_a_sleeping_main_thread_raises_at_once() -> None:
    interruption = MainThreadInterruption(lambda: True)
    interruption.install()
    began = time.monotonic()
    interrupt_after(interruption, 0.2)
    with pytest.raises(ValueError, match="from elsewhere"):
        time.sleep(30)
    assert time.monotonic() - began < 5
    interruption.uninstall()


def test_nothing_is_raised_where_it_is_not_wanted_any_more() -> None:
    interruption = MainThreadInterruption(lambda: False)
    interruption.install()
    interrupt_after(interruption, 0.1).join()
    time.sleep(0.1)
    interruption.uninstall()


def test_what_handled_the_signal_before_is_put_back() -> None:
    number = signal.SIGRTMIN + 5
    before = signal.getsignal(number)
    interruption = MainThreadInterruption(lambda: True)
    interruption.install()
    assert signal.getsignal(number) != before
    interruption.uninstall()
    assert signal.getsignal(number) == before


def test_without_the_main_thread_nothing_is_installed_or_raised() -> None:
    interruption = MainThreadInterruption(lambda: True)
    thread = threading.Thread(target=interruption.install)
    thread.start()
    thread.join()
    interruption.raise_in_main(ValueError())
    interruption.uninstall()
