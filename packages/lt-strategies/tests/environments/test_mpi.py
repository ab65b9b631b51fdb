import importlib.util
import sys
from collections.abc import Callable

import pytest

from lt_interfaces.testing import EnvironmentContract
from lt_strategies import MPIEnvironment, SLURMEnvironment


def open_mpi(variables: Callable[..., None], *, size: int = 4, local_size: int = 4) -> None:
    variables(OMPI_COMM_WORLD_SIZE=size, OMPI_COMM_WORLD_LOCAL_SIZE=local_size)
    variables(OMPI_COMM_WORLD_RANK=size - 1, OMPI_COMM_WORLD_LOCAL_RANK=local_size - 1, PMIX_NAMESPACE="777")


def mpich(variables: Callable[..., None]) -> None:
    variables(PMI_SIZE=4, PMI_RANK=1, MPI_LOCALNRANKS=4, MPI_LOCALRANKID=1)


class TestOpenMPI(EnvironmentContract):
    @pytest.fixture
    def environment(self, variables: Callable[..., None]) -> MPIEnvironment:
        open_mpi(variables)
        return MPIEnvironment()


class TestMPICH(EnvironmentContract):
    @pytest.fixture
    def environment(self, variables: Callable[..., None]) -> MPIEnvironment:
        mpich(variables)
        return MPIEnvironment()


def test_ranks_come_from_variables_without_mpi4py(variables: Callable[..., None]) -> None:
    open_mpi(variables)
    environment = MPIEnvironment()
    assert environment.detect()
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (3, 3, 0)
    assert (environment.world_size(), environment.main_address) == (4, "127.0.0.1")
    assert "mpi4py" not in sys.modules


def test_on_several_hosts_nodes_are_counted_by_their_ranks(variables: Callable[..., None]) -> None:
    open_mpi(variables, size=6, local_size=2)
    variables(MASTER_ADDR="first")
    environment = MPIEnvironment()
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (5, 1, 2)
    assert environment.main_address == "first"


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is not None, reason="mpi4py is installed")
def test_on_several_hosts_an_address_or_mpi4py_is_asked_for(variables: Callable[..., None]) -> None:
    open_mpi(variables, size=4, local_size=2)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lt-strategies\[mpi\]'.* or set MASTER_ADDR"):
        _ = MPIEnvironment().main_address


def test_jobs_started_at_once_meet_at_ports_of_their_own(variables: Callable[..., None]) -> None:
    open_mpi(variables)
    first = MPIEnvironment().main_port
    variables(PMIX_NAMESPACE="778")
    assert MPIEnvironment().main_port != first
    variables(MASTER_PORT=5000)
    assert MPIEnvironment().main_port == 5000


def test_one_process_needs_no_environment(variables: Callable[..., None]) -> None:
    open_mpi(variables, size=1, local_size=1)
    assert not MPIEnvironment.detect()


def test_mpirun_within_a_slurm_job_is_mpis(variables: Callable[..., None]) -> None:
    variables(SLURM_NTASKS=4, SLURM_PROCID=0, SLURM_JOB_ID=5)
    assert SLURMEnvironment.detect()
    variables(PMI_SIZE=4, PMI_RANK=1)  # srun's own support of MPI sets these
    assert SLURMEnvironment.detect()
    open_mpi(variables)
    assert not SLURMEnvironment.detect()
    assert MPIEnvironment.detect()


def test_settings_that_do_not_match_are_refused(variables: Callable[..., None]) -> None:
    mpich(variables)
    with pytest.raises(ValueError, match="makes 2 processes, but 4 were started"):
        MPIEnvironment().validate_settings(num_devices=2, num_nodes=1)
