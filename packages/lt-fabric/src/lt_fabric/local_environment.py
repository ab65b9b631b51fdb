"""The environment of a plain machine: nobody but ourselves starts processes."""

import os
import signal
import socket
from typing import ClassVar

from lt_interfaces import ClusterEnvironment


class LocalEnvironment(ClusterEnvironment):
    """Processes on plain machines: always detected, asked last.

    Processes may be started by hand, with ``LOCAL_RANK``, ``NODE_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` set for
    each; else a launcher starts them. Without ``MASTER_PORT`` a free port is picked and kept reserved until `teardown`,
    so that no other program gets it before the process group's store does.

    >>> LocalEnvironment().world_size()
    1
    """

    detection_priority: ClassVar[int] = -100

    def __init__(self) -> None:
        self._world_size = 1
        self._global_rank = 0
        self._reservation: socket.socket | None = None

    def __del__(self) -> None:
        self.teardown()  # a run that was only put together is never torn down

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
        if "MASTER_PORT" in os.environ:
            return int(os.environ["MASTER_PORT"])
        if self._reservation is None:
            self._reservation = _reserve_port()
        port: int = self._reservation.getsockname()[1]
        return port

    def world_size(self) -> int:
        return self._world_size

    def set_world_size(self, size: int) -> None:
        self._world_size = size

    def global_rank(self) -> int:
        return self._global_rank

    def set_global_rank(self, rank: int) -> None:
        self._global_rank = rank

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", "0"))

    def node_rank(self) -> int:
        return int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        started = os.environ.get("WORLD_SIZE")
        if not self.creates_processes_externally or started is None or int(started) == num_devices * num_nodes:
            return
        message = (
            f"`devices` ({num_devices} here) times `num_nodes={num_nodes}` makes {num_devices * num_nodes} processes, "
            f"but WORLD_SIZE says {started} were started. Make both agree."
        )
        raise ValueError(message)

    @property
    def requeue_signal(self) -> signal.Signals | None:
        return None

    def requeue(self) -> None:
        message = "A plain machine has no queue to put the job into."
        raise RuntimeError(message)

    def teardown(self) -> None:
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None


def _reserve_port() -> socket.socket:
    """Return a socket bound to a free port.

    It never listens and allows the address to be reused, so the store of `torch.distributed` (which asks for reuse too)
    can listen on the port while others are refused it.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation
