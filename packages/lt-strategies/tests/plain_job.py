"""A job of torch alone: an environment, and ranks that add up ones until something happens.

Run as a program: ``plain_job.py HOW WHAT RANK [STEPS]``, where HOW is "script", a start method of multiprocessing, or
"outside" where other programs start the processes; WHAT happens to that RANK in step 3
("raise", "exit", "kill", "kill once", "sleep", "stop" or "nothing").
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from lt_interfaces import ClusterEnvironment, Launcher
from lt_strategies.failure.watch import FailureWatch
from lt_strategies.job_store import JobStore
from lt_strategies.launchers.processes import ProcessLauncher
from lt_strategies.launchers.script import ScriptLauncher
from lt_strategies.patience import wait_for_all

TIMEOUT = timedelta(seconds=5)


class PlainEnvironment(ClusterEnvironment):
    """Processes of one machine that are told everything by variables."""

    requeue_signal = None

    @classmethod
    def detect(cls) -> bool:
        return True

    @property
    def creates_processes_externally(self) -> bool:
        return "LOCAL_RANK" in os.environ

    @property
    def main_address(self) -> str:
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    def world_size(self) -> int:
        return int(os.environ.get("WORLD_SIZE", "1"))

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", "0"))

    def node_rank(self) -> int:
        return int(os.environ.get("NODE_RANK", "0"))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass

    def requeue(self) -> None:
        pass

    def teardown(self) -> None:
        pass


def open_store() -> JobStore:
    """Meet the other ranks, as a strategy does."""
    environment = PlainEnvironment()
    return JobStore.open(
        environment.main_address,
        environment.main_port,
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        timeout=timedelta(seconds=60),
    )


def join() -> JobStore:
    """Join a process group of torch."""
    store, environment = open_store(), PlainEnvironment()
    group_store = store.group_store()
    wait_for_all(group_store, "starting", world_size=environment.world_size())  # the timeout is for later
    dist.init_process_group(
        "gloo",
        store=group_store,
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        timeout=TIMEOUT,
    )
    return store


def abort() -> None:
    """Close all connections of the process group."""
    if dist.is_initialized():
        distributed_c10d._abort_process_group()


def new_watch(store: JobStore, **kwargs: Any) -> FailureWatch:
    """Return the watch of this rank."""
    environment = PlainEnvironment()
    return FailureWatch(
        store, rank=environment.global_rank(), world_size=environment.world_size(), abort=abort, **kwargs
    )


def watched(function: Callable[[int], Any], store: JobStore, num_steps: int = 6) -> Any:
    """Call the function for each step as the Trainer would run it, with the text "hooks ran" for its hooks."""
    watch = new_watch(store)
    watch.start()
    step = 0
    try:
        for step in range(num_steps):
            result = function(step)
    except BaseException as failure:
        outcome = watch.announce(failure, step=step)
        sys.stderr.write(f"hooks ran on rank {PlainEnvironment().global_rank()}\n")
        watch.stop()
        if outcome is failure:
            raise
        raise outcome from None
    watch.stop()
    return result


def run(what: str, rank: int) -> float:
    """Be one rank of the job; returns the sum of the last step."""
    store = join()
    total = watched(lambda step: _step(step, what, rank), store)
    dist.destroy_process_group()
    return float(total)


def _step(step: int, what: str, rank: int) -> float:
    ones = torch.ones(3)
    dist.all_reduce(ones)
    if step == 3 and PlainEnvironment().global_rank() == rank:
        _note_time()
        _happen(what)
    return float(ones.sum())


def _note_time() -> None:
    if "NOTE_TIME_IN" in os.environ:
        Path(os.environ["NOTE_TIME_IN"]).write_text(str(time.time()))


def _happen(what: str) -> None:
    if what == "raise":
        message = "out of order"
        raise ValueError(message)
    if what == "exit":
        sys.exit(3)
    if what == "kill" or (what == "kill once" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        time.sleep(100)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)


def new_launcher(how: str) -> Launcher:
    """Return the launcher for two processes."""
    if how == "script":
        return ScriptLauncher(PlainEnvironment(), num_local_processes=2, num_nodes=1)
    return ProcessLauncher(PlainEnvironment(), num_local_processes=2, start_method=how)  # type: ignore[arg-type]


def main() -> None:
    how, what, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if how == "outside" or PlainEnvironment().creates_processes_externally:
        total = run(what, rank)
    else:
        total = new_launcher(how).launch(run, what, rank)
    sys.stdout.write(f"total {total} in process {os.getpid()}\n")


if __name__ == "__main__":
    main()
