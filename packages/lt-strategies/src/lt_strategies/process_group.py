"""The process group of a job: joined when a run starts, kept for the life of the process, left after a failure."""

import atexit
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from lt_interfaces import ClusterEnvironment
from lt_strategies.forking import make_forks_safe
from lt_strategies.gloo_threads import wait_until_idle
from lt_strategies.group_sockets import GROUP_SOCKETS
from lt_strategies.job_store import JobStore
from lt_strategies.patience import wait_for_all
from lt_strategies.ranks import Ranks

_STARTING: Final = timedelta(minutes=30)
_KEPT: dict[tuple[str, int, int], str] = {}
"""The group that this process is in: its backend, rank and world size, as the next run may ask for the same."""


class ProcessGroup:
    """Joins and leaves torch's default process group.

    A group stays after a run that went well, so that code after it may use collectives, and the next run takes it over.
    One that the program had made by itself is used and left alone.

    Args:
        backend: torch's name of the backend; ``None``: NCCL for CUDA tensors with gloo for those of the CPU, gloo on
            the CPU, torch's default elsewhere.
        timeout: how long a collective may wait for other ranks.
    """

    def __init__(self, *, backend: str | None, timeout: timedelta) -> None:
        self.backend: Final = backend
        self.timeout: Final = timeout

    def refuse_other(self, ranks: Ranks) -> None:
        """Refuse a group that the program has made by itself, where it's not of these ranks; nobody is waited for.

        Raises:
            RuntimeError: this process has another rank in it, or it's of another size.
        """
        if not dist.is_initialized():
            return
        found = (dist.get_rank(), dist.get_world_size())
        is_ours = any(kept[1:] == found for kept in _KEPT)
        if found != (ranks.global_rank, ranks.world_size) and not is_ours:
            message = (
                f"A process group is there already in which this process has rank {found[0]} of {found[1]}, but the run"
                f" has rank {ranks.global_rank} of {ranks.world_size}. Leave `init_process_group` out, or make both"
                " agree by `devices` and `num_nodes`."
            )
            raise RuntimeError(message)

    def meet(self, environment: ClusterEnvironment, ranks: Ranks) -> JobStore:
        """Return the job's store, where the ranks find each other."""
        return JobStore.open(
            environment.main_address,
            environment.main_port,
            rank=ranks.global_rank,
            world_size=ranks.world_size,
            timeout=max(self.timeout, _STARTING),
        )

    def join(self, store: JobStore, ranks: Ranks) -> None:
        """Become one of the job's ranks; returns when all have.

        Raises:
            TimeoutError: a rank never came.
        """
        backend = default_backend(ranks.device) if self.backend is None else with_cpu(self.backend, ranks.device)
        wanted = (backend, ranks.global_rank, ranks.world_size)
        if dist.is_initialized():
            if wanted in _KEPT or not _KEPT:
                return
            self.leave()
        group_store = store.group_store()
        # Processes may start far apart, and the timeout is for ranks that work together.
        wait_for_all(group_store, "starting", world_size=ranks.world_size, timeout=max(self.timeout, _STARTING))
        with GROUP_SOCKETS.opened_within():
            dist.init_process_group(
                backend,
                store=group_store,
                rank=ranks.global_rank,
                world_size=ranks.world_size,
                timeout=self.timeout,
                device_id=ranks.device if ranks.device.type == "cuda" else None,
            )
        _KEPT[wanted] = backend
        make_forks_safe()
        # Some ranks are connected to all while others still connect: one that failed now would break that off.
        wait_for_all(group_store, "joined", world_size=ranks.world_size, timeout=max(self.timeout, _STARTING))

    def leave(self) -> None:
        """Leave the group, if it's one of ours."""
        if _KEPT and dist.is_initialized():
            dist.destroy_process_group()
        _KEPT.clear()

    def abort(self) -> None:
        """Close all connections at once, so that peers waiting for this rank hear of it; from any thread."""
        GROUP_SOCKETS.shut_down()
        if dist.is_initialized():
            distributed_c10d._abort_process_group()
        _KEPT.clear()


def default_backend(device: torch.device) -> str:
    """Return torch's name of the backend for a device, with gloo beside it for tensors on the CPU.

    >>> default_backend(torch.device("cpu"))
    'gloo'
    """
    if device.type == "cpu":
        return "gloo"
    own = "nccl" if device.type == "cuda" else dist.get_default_backend_for_device(device)
    return f"cpu:gloo,{device.type}:{own}"


def with_cpu(backend: str, device: torch.device) -> str:
    """Return a backend that was asked for, with gloo beside it where it's for a device alone.

    >>> with_cpu("nccl", torch.device("cuda")), with_cpu("gloo", torch.device("cpu"))
    ('cpu:gloo,cuda:nccl', 'gloo')
    """
    takes_cpu = ":" in backend or backend in ("gloo", "mpi", "ucc", "fake")
    return backend if takes_cpu else f"cpu:gloo,{device.type}:{backend}"


@atexit.register
def _leave_at_exit() -> None:
    if _KEPT and dist.is_initialized():
        dist.destroy_process_group()
    wait_until_idle()
