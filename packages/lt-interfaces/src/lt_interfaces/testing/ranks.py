"""A function in several real processes, each told in the plain way which rank it has."""

import faulthandler
import multiprocessing
import os
import pickle
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

# What isn't installed is left out; with the rest, the server forks processes that have imported everything already.
_PRELOADED = ["torch", "torch.nn.parallel", "torch.utils.data", "lt_core", "lt_strategies.ddp", "lt_fsdp"]


@dataclass(frozen=True)
class _Job:
    """What every rank is told."""

    folder: str
    port: int
    world_size: int
    timeout_seconds: float
    called: bytes
    """The function and its arguments, pickled: sent as they are, ranks would share the memory of tensors."""


def run_in_processes(
    function: Callable[..., Any], *args: Any, world_size: int = 2, timeout_seconds: float = 60.0
) -> list[Any]:
    """Call ``function(*args)`` in so many processes of one job, and return what each returned, by rank.

    The processes find their place in ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``, as if they
    had been started by hand, and join a process group by themselves (or a strategy does). Each has one thread.

    Args:
        function: at module level of a module that can be imported by name; what it returns is pickled.
        args: pickled, so that every process has tensors of its own.
        world_size: number of processes.
        timeout_seconds: when all are killed; shortly before, each writes to stderr where its threads stand.

    Raises:
        TimeoutError: after ``timeout_seconds``.
        torch.multiprocessing.ProcessRaisedException: the first failure, with its traceback.
    """
    called = [one.__module__ for one in (function, *args) if callable(one) and hasattr(one, "__module__")]
    multiprocessing.set_forkserver_preload([*_PRELOADED, *called])
    with tempfile.TemporaryDirectory() as folder, _reserved_port() as port:
        job = _Job(folder, port, world_size, timeout_seconds, pickle.dumps((function, args)))
        context: Any = start_processes(_run_rank, (job,), nprocs=world_size, join=False, start_method="forkserver")  # type: ignore[no-untyped-call]
        _wait(context, timeout_seconds)
        return [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(world_size)]


def _wait(context: Any, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    try:
        while not context.join(timeout=max(0.1, deadline - time.monotonic())):
            if time.monotonic() > deadline:
                alive = [rank for rank, process in enumerate(context.processes) if process.is_alive()]
                message = f"After {timeout_seconds} s the ranks {alive} haven't ended."
                raise TimeoutError(message)
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()
                process.join()


def _run_rank(rank: int, job: _Job) -> None:
    torch.set_num_threads(1)
    # Where each thread of a process stands that won't end in time is what one needs to know then. It's written in good
    # time, as the clock that ends the processes has run since before they were started.
    faulthandler.dump_traceback_later(job.timeout_seconds - min(10.0, job.timeout_seconds / 2))
    _end_after(job.timeout_seconds)
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(job.world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(job.port),
    }
    function, args = pickle.loads(job.called)
    Path(job.folder, str(rank)).write_bytes(pickle.dumps(function(*args)))
    faulthandler.cancel_dump_traceback_later()


def _end_after(seconds: float) -> None:
    """Let this process end some time after the test has given up, also when nobody is left to kill it."""
    alarm = threading.Timer(seconds + 5, os._exit, (1,))
    alarm.daemon = True
    alarm.start()


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Return a free port of this machine, which other programs are refused while rank 0 may still bind it."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]
