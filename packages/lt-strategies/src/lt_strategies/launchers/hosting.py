"""Where the processes that a launcher starts will meet, and what tells them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import torch

from lt_interfaces import ClusterEnvironment, MisconfigurationException
from lt_strategies.failure.parentage import PARENT_PROCESS
from lt_strategies.job_store import STORE_HOSTED, JobStore

_TIMEOUT: Final = timedelta(minutes=30)


def host_store(environment: ClusterEnvironment) -> JobStore:
    """Make the job's store in this process, where the environment says or else on a port that's free.

    Raises:
        RuntimeError: the port is taken.
    """
    address, port = environment.main_address, int(os.environ.get("MASTER_PORT", "0"))
    store = JobStore.host(address, port, timeout=_TIMEOUT)
    with variables(address_variables(store)):
        wanted = environment.main_port
    if wanted == store.port:
        return store
    # An environment of somebody else's with a port of its own.
    return JobStore.host(address, wanted, timeout=_TIMEOUT)


def address_variables(store: JobStore) -> dict[str, str]:
    """Return the variables that lead processes to the store."""
    return {"MASTER_ADDR": store.address, "MASTER_PORT": str(store.port), STORE_HOSTED: "1"}


def rank_variables(*, local_rank: int, node_rank: int, world_size: int) -> dict[str, str]:
    """Return the variables that tell a process who it is."""
    return {"LOCAL_RANK": str(local_rank), "NODE_RANK": str(node_rank), "WORLD_SIZE": str(world_size)}


def parent_variables(pid: int) -> dict[str, str]:
    """Return the variable that binds a process to the end of another."""
    return {PARENT_PROCESS: str(pid)}


def require_address(environment: ClusterEnvironment, num_nodes: int) -> None:
    """Refuse several nodes that nobody told where to meet.

    Raises:
        MisconfigurationException: neither the variables nor the environment name an address.
    """
    if num_nodes == 1 or ("MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ):
        return
    if environment.main_address not in ("127.0.0.1", "localhost"):
        return
    message = (
        f"`num_nodes={num_nodes}` needs `MASTER_ADDR` and `MASTER_PORT`, the same on every node, and `NODE_RANK`. Set "
        "them for each node's process, or start the job with torchrun or a scheduler."
    )
    raise MisconfigurationException(message)


@contextmanager
def variables(changes: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process's environment for a while."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def share_threads(num_processes: int) -> dict[str, str]:
    """Give each process its share of the CPUs, unless the user has said how many; returns what children need."""
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    share = max(1, len(os.sched_getaffinity(0)) // num_processes) if hasattr(os, "sched_getaffinity") else 1
    torch.set_num_threads(share)
    return {"OMP_NUM_THREADS": str(share)}
