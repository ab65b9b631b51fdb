"""The contract of a cluster environment: who am I among the processes of this job."""

import signal
from abc import ABC, abstractmethod
from typing import ClassVar


class ClusterEnvironment(ABC):
    """Tells a process its ranks and where the job's main process listens.

    Found by name in the entry-point group ``lt.environments``; with none given, the candidates are asked in the order
    of `detection_priority` (highest first) until one's `detect` says yes. Every process of the job makes its own.
    """

    detection_priority: ClassVar[int] = 0
    """Who is asked first; the plain local environment has the lowest priority and always says yes."""

    @classmethod
    @abstractmethod
    def detect(cls) -> bool:
        """Say whether this process was started by this kind of environment. Reads variables only; no side effects."""

    @property
    @abstractmethod
    def creates_processes_externally(self) -> bool:
        """Whether somebody else (torchrun, srun, mpirun) starts the processes; if not, our launcher does."""

    @property
    @abstractmethod
    def main_address(self) -> str:
        """Host name or address of the process with global rank 0."""

    @property
    @abstractmethod
    def main_port(self) -> int:
        """The port on `main_address` that the process group's store uses."""

    @abstractmethod
    def world_size(self) -> int:
        """Return the number of processes of the job."""

    @abstractmethod
    def set_world_size(self, size: int) -> None:
        """Take the world size from the strategy; ignored where the environment knows it."""

    @abstractmethod
    def global_rank(self) -> int:
        """Return this process's rank in the job, from 0."""

    @abstractmethod
    def set_global_rank(self, rank: int) -> None:
        """Take the global rank from the strategy; ignored where the environment knows it."""

    @abstractmethod
    def local_rank(self) -> int:
        """Return this process's rank on its node, from 0."""

    @abstractmethod
    def node_rank(self) -> int:
        """Return the rank of this process's node, from 0."""

    @abstractmethod
    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare the user's ``devices`` and ``num_nodes`` with what the environment started.

        Called before launching. Raises `ValueError` naming both numbers where they disagree.
        """

    @property
    @abstractmethod
    def requeue_signal(self) -> signal.Signals | None:
        """The signal by which a scheduler announces that the job's time ends and that it may be queued again.

        ``None`` where a job can't be queued again, or the user doesn't want it.
        """

    @abstractmethod
    def requeue(self) -> None:
        """Put this job into the queue again; called on global rank 0 after the checkpoint to go on from was written.

        Raises `RuntimeError` with the scheduler's answer when that fails.
        """

    @abstractmethod
    def teardown(self) -> None:
        """Remove variables that the run set, so that the next run in this process starts clean."""
