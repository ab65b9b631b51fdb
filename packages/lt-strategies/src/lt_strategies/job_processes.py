"""The processes of a job, as every strategy for several of them sees them: ranks, launcher, group, failures."""

import atexit
import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from lt_interfaces import Assembly, FlagExchange, Launcher
from lt_interfaces.rank_zero import set_global_rank
from lt_strategies import collectives
from lt_strategies.failure.termination import PATIENCE_SECONDS, TerminationGuard
from lt_strategies.failure.watch import FailureWatch
from lt_strategies.flag_exchange import AsyncFlagExchange
from lt_strategies.launchers.processes import ProcessLauncher
from lt_strategies.launchers.script import ScriptLauncher
from lt_strategies.patience import wait_for_all
from lt_strategies.process_group import ProcessGroup
from lt_strategies.ranks import Ranks, ranks_of
from lt_strategies.shared_flags import SharedFlagExchange, shared_words

StartMethod = Literal["popen", "spawn", "fork", "forkserver"]
DEFAULT_TIMEOUT: Final = timedelta(minutes=30)


class JobProcesses:
    """What a strategy composes to work in several processes.

    Args:
        backend: of the process group; ``None``: what fits the device.
        timeout: how long a collective may wait.
        start_method: "popen" runs the script again for every local rank, the others start processes with the function.
        preemption_check_every: at how many step boundaries ranks tell each other of signals and stop requests.
    """

    def __init__(
        self,
        *,
        backend: str | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        start_method: StartMethod = "popen",
        preemption_check_every: int = 1,
    ) -> None:
        if start_method not in ("popen", "spawn", "fork", "forkserver"):
            message = f"`start_method={start_method!r}` must be 'popen', 'spawn', 'fork' or 'forkserver'."
            raise ValueError(message)
        if preemption_check_every < 1:
            message = f"`preemption_check_every={preemption_check_every}` must be at least 1 (optimizer step)."
            raise ValueError(message)
        self._group: Final = ProcessGroup(backend=backend, timeout=timeout)
        self._start_method: Final = start_method
        self._check_every: Final = preemption_check_every
        self.ranks = Ranks(0, 0, 0, 1, torch.device("cpu"))
        self.launcher: Launcher | None = None
        self._assembly: Assembly | None = None
        self._watch: FailureWatch | None = None
        self._guard: TerminationGuard | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process: another one gets its own."""
        return {**vars(self), "launcher": None, "_watch": None, "_guard": None}

    def connect(self, assembly: Assembly) -> None:
        """Find out which process this is, and what starts the others."""
        self._assembly = assembly
        self.ranks = ranks_of(assembly)
        self.launcher = self._new_launcher(assembly)

    def _new_launcher(self, assembly: Assembly) -> Launcher | None:
        if assembly.environment.creates_processes_externally:
            return None
        num_local = len(assembly.devices)
        if self._start_method == "popen":
            return ScriptLauncher(assembly.environment, num_local_processes=num_local, num_nodes=assembly.num_nodes)
        return ProcessLauncher(assembly.environment, num_local_processes=num_local, start_method=self._start_method)

    def join(self) -> None:
        """Prepare the device and become one of the ranks; called first in every process."""
        assembly = self._assembly
        assert assembly is not None  # `connect` comes first
        # A launcher may have given this process a rank since.
        self.ranks = ranks_of(assembly)
        set_global_rank(self.ranks.global_rank)
        assembly.accelerator.setup_device(self.ranks.device)
        self._group.refuse_other(self.ranks)  # ranks that meet first wait for those which refused
        store = self._group.meet(assembly.environment, self.ranks)
        self._watch = FailureWatch(
            store, rank=self.ranks.global_rank, world_size=self.ranks.world_size, abort=self._group.abort
        )
        self._watch.start()
        self._guard = TerminationGuard(self._end_stuck)
        self._guard.start()
        # Watching already: a rank that ended before it came here would be waited for.
        self._group.join(store, self.ranks)
        atexit.register(self._stop_watching)  # a loop of one's own ends no run, and the thread mustn't outlive Python

    def announce_failure(self, failure: BaseException, *, step: int | None) -> BaseException:
        """Tell the other ranks of a failure, and return what to raise for it."""
        return failure if self._watch is None else self._watch.announce(failure, step=step)

    def leave(self) -> None:
        """End a run: stop looking for failures, and give the device back."""
        self._stop_watching()
        if self._assembly is not None:
            self._assembly.accelerator.teardown()

    def _stop_watching(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.stop()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            atexit.unregister(self._stop_watching)

    def _end_stuck(self, place: str) -> None:
        """End this process, which was told to end and can't: its main thread doesn't come back to Python."""
        message = f"SIGTERM told this process to end, but for {PATIENCE_SECONDS:g} s it was stuck at {place}."
        self.announce_failure(RuntimeError(message), step=None)
        sys.stderr.write(f"rank {self.ranks.global_rank}: {message} It ends without hooks.\n")
        sys.stderr.flush()
        os._exit(128 + signal.SIGTERM)

    def open_flag_exchange(self, every: int | None) -> FlagExchange | None:
        """Return what ranks tell each other of flags with; ``None`` for a job of one process. Collective."""
        world_size, assembly = self.ranks.world_size, self._assembly
        if world_size == 1 or assembly is None:
            return None
        every = every or self._check_every
        words = self._shared_words() if assembly.num_nodes == 1 else None
        if words is None:
            return AsyncFlagExchange(every)
        return SharedFlagExchange(words, rank=self.ranks.global_rank, world_size=world_size, every=every)

    def _shared_words(self) -> memoryview | None:
        def all_agree(is_fine: bool) -> bool:
            vote = torch.tensor(float(is_fine), device=self.ranks.device)
            return bool(self.reduce(vote, op="min", group=None).item())

        return shared_words(
            self.ranks.global_rank,
            self.ranks.world_size,
            broadcast=lambda text: self.broadcast(text, 0),
            all_agree=all_agree,
        )

    # --- collectives ---

    def reduce(self, tensor: Tensor, *, op: str, group: Any) -> Tensor:
        """Reduce over ranks."""
        return collectives.reduce(tensor, op=op, group=group)

    def broadcast(self, obj: Any, src: int) -> Any:
        """Send an object of one rank to all."""
        return collectives.broadcast_object(obj, src, self.ranks.device)

    def barrier(self, name: str, *, patient: bool) -> None:
        """Wait for all ranks; patiently over the store, which has no timeout."""
        if not patient:
            dist.barrier(device_ids=[self.ranks.device.index] if self.ranks.device.type == "cuda" else None)
            return
        assert self._assembly is not None  # `connect` comes first
        store = self._group.meet(self._assembly.environment, self.ranks)
        wait_for_all(store.group_store(), name, world_size=self.ranks.world_size)

    @property
    def distributed_sampler_kwargs(self) -> Mapping[str, int]:
        """How samplers share samples out."""
        return {"num_replicas": self.ranks.world_size, "rank": self.ranks.global_rank}
