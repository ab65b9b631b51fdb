"""The store of a job: where its processes meet, and where its first failure is written down."""

import os
from datetime import timedelta
from typing import Final, Literal

from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed import DistNetworkError

STORE_HOSTED: Final = "LT_STORE_HOSTED"
"""Set to "1" where the launcher's process holds the job's store."""

Holder = Literal["rank 0", "the launcher's process", "torchrun's agent"]

_MOMENT: Final = timedelta(seconds=30)
# By process: a forked child must not talk through its parent's connections, nor close them.
_OPEN: Final[dict[tuple[int, str, int], "JobStore"]] = {}


class JobStore:
    """The one store of a job, as this process sees it; kept for the life of the process.

    Opened with `open` in every rank, or with `host` by a launcher.

    Args:
        store: this process's connection.
        address: the host that holds the store.
        holder: who holds it.
        is_held_here: whether it ends with this process.
        timeout: how long a wait for a key may take.
    """

    def __init__(
        self, store: TCPStore, *, address: str, holder: Holder, is_held_here: bool, timeout: timedelta
    ) -> None:
        self.address: Final = address
        self.port: Final = int(store.port)
        self.holder: Final = holder
        self.is_held_here: Final = is_held_here
        self._store: Final = store
        self._timeout: Final = timeout
        self._num_groups = 0
        self._num_runs = 0

    @classmethod
    def open(cls, address: str, port: int, *, rank: int, world_size: int, timeout: timedelta) -> "JobStore":
        """Return the store at that address; the first call in a process connects to it, or makes it on rank 0.

        Held by the launcher's process or by torchrun's agent where these started the job, else by rank 0.

        Raises:
            RuntimeError: rank 0 can't have the port, or another rank finds no store there.
        """
        known = _OPEN.get((os.getpid(), address, port))
        if known is None:
            holder = _holder()
            hosts = holder == "rank 0" and rank == 0
            store = (
                _listen(address, port, timeout)
                if hosts
                else _connect(address, port, timeout=timeout, whose=f"rank {rank}")
            )
            known = cls(store, address=address, holder=holder, is_held_here=hosts, timeout=timeout)
            _OPEN[os.getpid(), address, port] = known
        return known

    @classmethod
    def host(cls, address: str, port: int = 0, *, timeout: timedelta) -> "JobStore":
        """Make the store of a job whose processes this one is about to start.

        Args:
            address: by which all processes reach this host.
            port: 0 takes a free one; no other program can get it in between.
            timeout: how long a wait for a key may take.

        Raises:
            RuntimeError: the port is taken.
        """
        store = _listen(address, port, timeout)
        return cls(store, address=address, holder="the launcher's process", is_held_here=True, timeout=timeout)

    def keep_open(self) -> None:
        """Let `open` in this process return this store."""
        _OPEN[os.getpid(), self.address, self.port] = self

    def group_store(self, name: str | None = None) -> PrefixStore:
        """Return the part of the store for one process group.

        Args:
            name: the same on every rank; ``None``: the number of groups that this process has asked for so, which
                therefore has to be the same everywhere.
        """
        if name is None:
            name = f"group {self._num_groups}"
            self._num_groups += 1
        return PrefixStore(self.prefix(name), self._store)

    def prefix(self, name: str) -> str:
        """Return what keys of that part begin with, for this life of the job.

        Under torchrun a restarted job finds the keys of its earlier life in the agent's store.
        """
        return f"lt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{name}"

    def next_run(self) -> int:
        """Count a run of this process, and return its number, from 0."""
        self._num_runs += 1
        return self._num_runs - 1

    def new_client(self) -> TCPStore:
        """Open a connection of one's own: a connection is locked while anybody waits for a key through it."""
        return _connect(self.address, self.port, timeout=self._timeout, whose="a thread")


def _holder() -> Holder:
    if os.environ.get(STORE_HOSTED) == "1":
        return "the launcher's process"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return "torchrun's agent"
    return "rank 0"


def _listen(address: str, port: int, timeout: timedelta) -> TCPStore:
    try:
        # `multi_tenant`: a program that made a process group by itself has a store on this port already.
        return TCPStore(address, port, is_master=True, timeout=timeout, wait_for_workers=False, multi_tenant=port != 0)
    except DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        message = (
            f"Port {port} on {address}, on which the job's processes shall meet, is taken by another program. Set "
            "`MASTER_PORT` to a free port (the same for every process of the job); where our launcher starts the "
            "processes of one machine, leave it out, and a free port is found."
        )
        raise RuntimeError(message) from error


def _connect(address: str, port: int, *, timeout: timedelta, whose: str) -> TCPStore:
    # A store that was there before this process needn't be waited for.
    patience = timeout if _holder() == "rank 0" else min(timeout, _MOMENT)
    try:
        store = TCPStore(address, port, is_master=False, timeout=patience, wait_for_workers=False)
    except DistNetworkError as error:
        message = (
            f"The job's store at {address}:{port} didn't answer {whose} within {patience.total_seconds():g} s. It's "
            f"held by {_holder()}: see whether that still runs, and whether `MASTER_ADDR` and `MASTER_PORT` are the "
            "same everywhere."
        )
        raise RuntimeError(message) from error
    store.set_timeout(timeout)
    return store
