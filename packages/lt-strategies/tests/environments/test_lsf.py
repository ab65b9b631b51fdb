import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lt_interfaces.testing import EnvironmentContract
from lt_strategies import LSFEnvironment


@pytest.fixture
def _started(variables: Callable[..., None], tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    own = socket.gethostname()
    hosts.write_text(f"batch\nfirst\nfirst\n{own}\n{own}\n")
    variables(LSB_JOBID=4711, LSB_DJOB_RANKFILE=hosts, JSM_NAMESPACE_SIZE=4, JSM_NAMESPACE_RANK=3)
    variables(JSM_NAMESPACE_LOCAL_RANK=1)


@pytest.mark.usefixtures("_started")
class TestLSFEnvironment(EnvironmentContract):
    @pytest.fixture
    def environment(self) -> LSFEnvironment:
        return LSFEnvironment()


@pytest.mark.usefixtures("_started")
def test_reads_ranks_and_hosts_without_the_one_that_runs_the_script() -> None:
    environment = LSFEnvironment()
    assert environment.detect()
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (3, 1, 1)
    assert (environment.world_size(), environment.main_address) == (4, "first")
    environment.validate_settings(num_devices=2, num_nodes=2)
    with pytest.raises(ValueError, match="but 4 were started"):
        environment.validate_settings(num_devices=1, num_nodes=2)


@pytest.mark.usefixtures("_started")
def test_elements_of_an_array_meet_at_ports_of_their_own(variables: Callable[..., None]) -> None:
    ports = set()
    for element in range(1, 5):
        variables(LSB_JOBINDEX=element)
        ports.add(LSFEnvironment().main_port)
    assert len(ports) == 4
    variables(MASTER_PORT=5000, MASTER_ADDR="there")
    assert (LSFEnvironment().main_address, LSFEnvironment().main_port) == ("there", 5000)


@pytest.mark.usefixtures("_started")
def test_a_host_that_is_not_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("batch\nother\n")
    with pytest.raises(RuntimeError, match=r"isn't among those .*\['other'\]"):
        LSFEnvironment().node_rank()


def test_is_detected_by_all_its_variables_alone(variables: Callable[..., None]) -> None:
    variables(LSB_JOBID=1, LSB_DJOB_RANKFILE="f", JSM_NAMESPACE_SIZE=1)
    assert not LSFEnvironment.detect()
    variables(JSM_NAMESPACE_LOCAL_RANK=0)
    assert LSFEnvironment.detect()
