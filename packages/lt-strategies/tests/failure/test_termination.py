import subprocess
import sys
import time
from typing import Final

SCRIPT: Final = """
import ctypes, os, signal, time
from lt_strategies.failure.termination import TerminationGuard

def on_stuck(place):
    print("stuck at", place, flush=True)
    os._exit(7)

signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))
guard = TerminationGuard(on_stuck, patience_seconds=1.0)
guard.start()
print("ready", flush=True)
{main}
guard.stop()
print("over", flush=True)
"""
STUCK_IN_NATIVE_CODE: Final = """
native, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
native.pthread_mutex_lock(mutex)
native.pthread_mutex_lock(mutex)  # waits for ever, and no signal interrupts it
"""


def run(main: str) -> tuple[int, str]:
    """Run the script, send it SIGTERM once it's ready, and return its code and what it printed."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(main=main)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.terminate()
        printed, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, printed


def test_a_main_thread_stuck_in_native_code_is_noticed_and_named() -> None:
    code, printed = run(STUCK_IN_NATIVE_CODE)
    assert code == 7
    assert printed.startswith("stuck at <string>:")


def test_one_that_goes_on_is_left_alone() -> None:
    code, printed = run("for _ in range(300): time.sleep(0.01)")
    assert (code, printed) == (0, "heard\nover\n")


def test_without_a_signal_nothing_happens() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(main="time.sleep(2.5)")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, "ready\nover\n")


FORKED: Final = """
told, tells = os.pipe()
child = os.fork()
if not child:
    os.write(tells, b"here")
    time.sleep(20)
    os._exit(0)
os.read(told, 4)
os.kill(child, signal.SIGTERM)
os.waitpid(child, os.WNOHANG)
native, mutex, later = ctypes.CDLL(None), ctypes.create_string_buffer(64), (ctypes.c_long * 2)(int(time.time()) + 4, 0)
native.pthread_mutex_lock(mutex)
native.pthread_mutex_timedlock(mutex, later)
os.kill(child, signal.SIGKILL)
"""


def test_a_signal_to_a_forked_process_is_not_taken_for_ones_own() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(main=FORKED)], capture_output=True, text=True, timeout=40, check=False
    )
    assert process.returncode == 0, process.stdout
    assert "stuck" not in process.stdout
