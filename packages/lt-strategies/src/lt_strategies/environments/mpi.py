"""Processes that mpirun has started."""

import os
import socket
import zlib
from functools import cached_property
from typing import Any, ClassVar, Final

from lt_strategies.environments.ports import DEFAULT_PORT, chosen_port, derived_port
from lt_strategies.environments.started_elsewhere import StartedOnce
from lt_strategies.environments.variables import number

# Open MPI's, then those of MPICH and Intel MPI.
_SIZE: Final = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_RANK: Final = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")
_LOCAL_SIZE: Final = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
_LOCAL_RANK: Final = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
# The same for all processes of one mpirun, and another for the next.
_JOB: Final = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PMI_PORT")


class MPIEnvironment(StartedOnce):
    """Processes started by the ``mpirun`` of Open MPI, MPICH or Intel MPI, one for each device.

    MPI only starts them: they talk by torch's backends. ``MASTER_ADDR`` and ``MASTER_PORT`` win where they're set;
    without the first, a job on several hosts asks mpi4py where rank 0 is. Ranks are taken to be consecutive on each
    host, as mpirun places them unless told otherwise.
    """

    detection_priority: ClassVar[int] = 10

    @classmethod
    def detect(cls) -> bool:
        return any(size.isdecimal() and int(size) > 1 for size in (os.environ.get(name, "") for name in _SIZE))

    @cached_property
    def _is_one_host(self) -> bool:
        return number(_present(_LOCAL_SIZE)) == self.world_size()

    @cached_property
    def _rank_zero_host(self) -> str:
        host: str = _world().bcast(socket.gethostname(), root=0)
        return host

    @property
    def main_address(self) -> str:
        if "MASTER_ADDR" in os.environ:
            return os.environ["MASTER_ADDR"]
        return "127.0.0.1" if self._is_one_host else self._rank_zero_host

    @property
    def main_port(self) -> int:
        chosen = chosen_port()
        if chosen is not None:
            return chosen
        job = next((os.environ[variable] for variable in _JOB if variable in os.environ), None)
        if job is None:
            return DEFAULT_PORT
        digest = zlib.crc32(job.encode())
        return derived_port(digest >> 4, digest)

    def world_size(self) -> int:
        return number(_present(_SIZE))

    def global_rank(self) -> int:
        return number(_present(_RANK))

    def local_rank(self) -> int:
        return number(_present(_LOCAL_RANK))

    def node_rank(self) -> int:
        return self.global_rank() // number(_present(_LOCAL_SIZE))

    @property
    def count_option(self) -> str:
        return "mpirun's `-n`"


def _present(variables: tuple[str, ...]) -> str:
    """Return the first of the variables that's set, or else the first."""
    return next((variable for variable in variables if variable in os.environ), variables[0])


def _world() -> Any:
    """Return mpi4py's communicator of all processes."""
    try:
        # Imported here: an optional dependency, which starts MPI in this process when it's imported.
        from mpi4py import MPI  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        message = (
            "mpirun started this job on several hosts, and only mpi4py knows which has rank 0. Either "
            "`pip install 'lt-strategies[mpi]'`, or set MASTER_ADDR to that host: `mpirun -x MASTER_ADDR=<host> ...`."
        )
        raise ModuleNotFoundError(message) from error
    return MPI.COMM_WORLD
