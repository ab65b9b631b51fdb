"""The launcher that starts processes with a function."""

import functools
import multiprocessing
import multiprocessing.connection
import pickle
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import torch
import torch.multiprocessing  # teaches multiprocessing how tensors travel

from lt_interfaces import ClusterEnvironment, Launcher, MisconfigurationException
from lt_strategies.failure.board import FailureBoard
from lt_strategies.failure.record import FailureRecord, ProcessEndedError
from lt_strategies.job_store import JobStore
from lt_strategies.launchers.child_process import MAILBOX, PROCESS_NAME, Order, refuse_while_importing_main, run_child
from lt_strategies.launchers.children import PATIENCE_SECONDS, Child, end_children, wait_for_end
from lt_strategies.launchers.hosting import address_variables, host_store, rank_variables, variables
from lt_strategies.launchers.outcome import Failure, Mailbox, RankTraceback
from lt_strategies.launchers.torch_settings import TorchSettings

Result = TypeVar("Result")
StartMethod = Literal["spawn", "fork", "forkserver"]
_INTERRUPTED_SECONDS: Final = 1.0


class ProcessLauncher(Launcher):
    """Starts processes that call the function, and waits for them; this process isn't one of the job.

    What the function changes stays in those processes, and what it returns on rank 0 comes back. The first failure is
    raised here as what it was there, with its traceback as the cause.

    Args:
        environment: says where the job's processes meet.
        num_local_processes: how many are started.
        start_method: multiprocessing's. "fork" works in notebooks, but not once CUDA has been used.

    Raises:
        ValueError: this platform can't start processes so.
    """

    returns_results = False

    def __init__(
        self, environment: ClusterEnvironment, *, num_local_processes: int, start_method: StartMethod = "spawn"
    ) -> None:
        available = multiprocessing.get_all_start_methods()
        if start_method not in available:
            message = (
                f"`start_method={start_method!r}` isn't available on this platform, only "
                f"{', '.join(map(repr, available))}. Use `strategy='ddp'` or `strategy='ddp_spawn'`."
            )
            raise ValueError(message)
        self.is_interactive_compatible = start_method == "fork"  # type: ignore[misc]
        self._environment: Final = environment
        self._num_processes: Final = num_local_processes
        self._start_method: Final = start_method
        self._children: list[Child] = []

    def launch(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        refuse_while_importing_main()
        if self._start_method == "fork":
            _refuse_fork_after_cuda()
        folder = Path(tempfile.mkdtemp(prefix="lt-launch-"))
        try:
            return self._launch(functools.partial(function, *args, **kwargs), Mailbox(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def kill(self, signum: int) -> None:
        for child in self._children:
            child.send(signum)

    def _launch(self, call: Callable[[], Result], mailbox: Mailbox) -> Result:
        store = host_store(self._environment)
        board = FailureBoard(store, run=None)
        processes: list[BaseProcess] = []
        try:
            for rank in range(self._num_processes):
                processes.append(self._start(rank, call, store=store, mailbox=mailbox))
                self._children = [_child(rank, process) for rank, process in enumerate(processes)]
            first = _wait(processes, self._children, board)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        except BaseException:
            end_children(self._children, patience_seconds=0)
            raise
        failure = self._failure(first, mailbox, board)
        if failure is not None:
            raise failure
        result: Result = mailbox.result()
        return result

    def _start(self, rank: int, call: Callable[[], Any], *, store: JobStore, mailbox: Mailbox) -> BaseProcess:
        own = rank_variables(local_rank=rank, node_rank=0, world_size=self._num_processes)
        order = Order(
            rank=rank,
            variables={**address_variables(store), **own},
            folder=mailbox.folder,
            settings=TorchSettings.of_this_process(),
            # After a fork, the parent's threads are gone, and OpenMP would wait for them.
            num_threads=1 if self._start_method == "fork" else max(1, torch.get_num_threads() // self._num_processes),
        )
        context = multiprocessing.get_context(self._start_method)
        process = context.Process(  # type: ignore[attr-defined]
            target=run_child, args=(order, call), name=f"{PROCESS_NAME}{rank}"
        )
        with variables({MAILBOX: str(mailbox.folder)}):
            _start_clearly(process)
        started: BaseProcess = process
        return started

    def _interrupt(self) -> None:
        """End the others after Ctrl-C, which a terminal sends to them too, but a notebook's button may not."""
        if not wait_for_end(self._children, _INTERRUPTED_SECONDS):
            self.kill(signal.SIGINT)
        end_children(self._children)

    def _failure(self, first: "_End | None", mailbox: Mailbox, board: FailureBoard) -> BaseException | None:
        """Return what to raise: what the processes tell of the first failure, or how the first one of them ended."""
        if first is None:
            return None
        told = [one for rank in range(self._num_processes) if (one := mailbox.failure(rank)) is not None]
        agreed = _agreed_exit(told, self._num_processes)
        if agreed is not None:
            return agreed
        own = min((one for one in told if not one.is_peer), key=lambda one: one.seconds, default=None)
        ended_silently = all(one.rank != first.child.rank for one in told)
        if own is not None and (own.seconds <= first.seconds or not ended_silently):
            return own.revive()
        record = board.latest()  # of a rank that was ended within its hooks
        if record is not None and (record.seconds <= first.seconds or not ended_silently):
            return _ended(record.headline, record.traceback)
        return _ended(first.child.ending, None)


class _End:
    """The first process that ended badly."""

    def __init__(self, child: Child) -> None:
        self.child: Final = child
        self.seconds: Final = time.time()


def _child(rank: int, process: BaseProcess) -> Child:
    assert process.pid is not None  # it was started
    return Child(rank=rank, pid=process.pid, exit_code=lambda: process.exitcode)


def _wait(processes: list[BaseProcess], children: list[Child], board: FailureBoard) -> _End | None:
    """Wait until all processes have ended; after the first that ended badly, the others have some seconds."""
    running = {process.sentinel: child for process, child in zip(processes, children, strict=True)}
    while running:
        for sentinel in multiprocessing.connection.wait(list(running)):
            child = running.pop(int(sentinel))  # type: ignore[arg-type]
            wait_for_end([child], PATIENCE_SECONDS)
            if child.exit_code() != 0:
                end = _End(child)
                board.post_end(FailureRecord.of_end(child.ending, rank=child.rank))
                end_children(children)
                return end
    return None


def _agreed_exit(told: list[Failure], num_processes: int) -> BaseException | None:
    """Return the exit that all ranks asked for alike, which is no failure of one of them."""
    codes = {one.exit_code for one in told}
    if len(told) == num_processes and len(codes) == 1 and None not in codes and codes != {0}:
        return SystemExit(codes.pop())
    return None


def _ended(headline: str, text: str | None) -> BaseException:
    failure = ProcessEndedError(f"{headline}: the first failure of the job.")
    if text:
        failure.__cause__ = RankTraceback(text)
    return failure


def _start_clearly(process: Any) -> None:
    try:
        process.start()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error):
            raise
        message = (
            f"The run can't be sent to a new process: {error}. Give it only what can be pickled (no lambdas, no "
            "classes or functions within functions, no open files), or use `strategy='ddp'` or "
            "`strategy='ddp_fork'`, which send nothing."
        )
        raise MisconfigurationException(message) from error


def _refuse_fork_after_cuda() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        message = (
            "CUDA has been used in this process already, and a forked process can't use it after that. Touch no CUDA "
            "device before the run (in a notebook: restart the kernel), or use `strategy='ddp_spawn'` or "
            "`strategy='ddp'`."
        )
        raise RuntimeError(message)
