"""The launcher that runs the user's script again for every further process of this node."""

import atexit
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeVar

from lt_interfaces import ClusterEnvironment, Launcher
from lt_strategies.failure.board import FailureBoard
from lt_strategies.failure.record import FailureRecord
from lt_strategies.failure.report import REPORTER
from lt_strategies.job_store import JobStore
from lt_strategies.launchers.children import Child, end_children, wait_for_end
from lt_strategies.launchers.hosting import (
    address_variables,
    host_store,
    parent_variables,
    rank_variables,
    require_address,
    share_threads,
)
from lt_strategies.launchers.rerun import rerun_of_program

Result = TypeVar("Result")
_POLL_SECONDS: Final = 0.1
_FOREVER: Final = float("inf")
_STORE_TIMEOUT: Final = timedelta(minutes=30)


class ScriptLauncher(Launcher):
    """Runs the script again for local ranks 1, 2, ..., and calls the function in this process, which is local rank 0.

    The others come to the same call by themselves. All go on with the script after it; a further run in the script
    finds the processes there.

    Args:
        environment: says where this node stands and where the job's processes meet.
        num_local_processes: of this node, with this one.
        num_nodes: of the job.
    """

    is_interactive_compatible: ClassVar[bool] = False
    returns_results: ClassVar[bool] = True

    def __init__(self, environment: ClusterEnvironment, *, num_local_processes: int, num_nodes: int) -> None:
        self._environment: Final = environment
        self._num_local: Final = num_local_processes
        self._num_nodes: Final = num_nodes
        self._family: _Family | None = None

    def launch(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        self._refuse_second_launch()
        require_address(self._environment, self._num_nodes)
        store = self._meet()
        self._family = _Family(self._start_children(store))
        self._family.supervise(store)
        try:
            return function(*args, **kwargs)
        except BaseException:
            self._family.end()
            raise

    def kill(self, signum: int) -> None:
        for child in self._family.children if self._family is not None else ():
            child.send(signum)

    def _refuse_second_launch(self) -> None:
        if self._family is not None or self._environment.local_rank() != 0:
            message = "The processes of this job have been started already; only local rank 0 starts them, and once."
            raise RuntimeError(message)

    def _meet(self) -> JobStore:
        """Make the store on the first node and find it from the others, and tell this process's later runs."""
        node_rank, world_size = self._environment.node_rank(), self._num_local * self._num_nodes
        if node_rank == 0:
            store = host_store(self._environment)
            store.keep_open()
        else:
            store = JobStore.open(
                self._environment.main_address,
                self._environment.main_port,
                rank=node_rank * self._num_local,
                world_size=world_size,
                timeout=_STORE_TIMEOUT,
            )
        os.environ.update(address_variables(store))
        os.environ.update(rank_variables(local_rank=0, node_rank=node_rank, world_size=world_size))
        return store

    def _start_children(self, store: JobStore) -> list[Child]:
        node_rank, world_size = self._environment.node_rank(), self._num_local * self._num_nodes
        inherited = {**os.environ, **share_threads(self._num_local), **parent_variables(os.getpid())}
        children = []
        for local_rank in range(1, self._num_local):
            rerun = rerun_of_program(local_rank)
            own = rank_variables(local_rank=local_rank, node_rank=node_rank, world_size=world_size)
            process = subprocess.Popen(rerun.command, env={**inherited, **own}, cwd=rerun.folder)
            children.append(
                Child(rank=node_rank * self._num_local + local_rank, pid=process.pid, exit_code=process.poll)
            )
        return children


class _Family:
    """The processes of this node, until this one ends."""

    def __init__(self, children: list[Child]) -> None:
        self.children: Final = children
        self._is_ending = False

    def supervise(self, store: JobStore) -> None:
        """Tell the ranks of a process that ended badly, and leave none behind at the end of this one."""
        board = FailureBoard(store, run=None)
        threading.Thread(target=self._report_ends, args=(board,), name="lt-supervisor", daemon=True).start()
        REPORTER.speak_for_children(self.end)
        atexit.register(self._at_exit)

    def end(self) -> None:
        """End the others; returns when none is left."""
        self._is_ending = True
        end_children(self.children)

    def _report_ends(self, board: FailureBoard) -> None:
        running = list(self.children)
        while running and not self._is_ending:
            for child in [one for one in running if not one.is_running]:
                running.remove(child)
                if child.exit_code() != 0 and not self._is_ending:
                    board.post_end(FailureRecord.of_end(child.ending, rank=child.rank))
            time.sleep(_POLL_SECONDS)

    def _at_exit(self) -> None:
        """Wait for the others, which may be busy with the rest of the script; their failures are the program's."""
        if self._is_ending:
            return
        wait_for_end(self.children, _FOREVER)
        failed = [child for child in self.children if child.exit_code() != 0]
        if not failed:
            return
        sys.stderr.write("".join(f"{child.ending}.\n" for child in failed))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # The exit code of a program that ends can be changed in no other way.
        os._exit(max(failed[0].exit_code() or 1, 1))
