import socket
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces.testing import EnvironmentContract

_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _VARIABLES:
        monkeypatch.delenv(variable, raising=False)


class TestLocalEnvironment(EnvironmentContract):
    @pytest.fixture
    def environment(self) -> LocalEnvironment:
        return LocalEnvironment()


class TestLocalEnvironmentStartedByHand(EnvironmentContract):
    @pytest.fixture
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> LocalEnvironment:
        for variable, value in zip(_VARIABLES, ("1", "0", "0", "10.0.0.1", "12345", "1"), strict=True):
            monkeypatch.setenv(variable, value)
        return LocalEnvironment()


def test_is_always_detected() -> None:
    assert LocalEnvironment.detect()


def test_reads_who_it_is_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = LocalEnvironment()
    assert not environment.creates_processes_externally
    for variable, value in {"LOCAL_RANK": "1", "GROUP_RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "7"}.items():
        monkeypatch.setenv(variable, value)
    assert environment.creates_processes_externally
    assert (environment.local_rank(), environment.node_rank()) == (1, 2)
    assert (environment.main_address, environment.main_port) == ("a", 7)
    monkeypatch.setenv("NODE_RANK", "3")
    assert environment.node_rank() == 3


def test_a_free_port_is_kept_from_other_programs() -> None:
    environment = LocalEnvironment()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", environment.main_port))
    environment.teardown()


@pytest.mark.parametrize("use_libuv", [True, False])
def test_the_process_groups_store_can_use_the_kept_port(use_libuv: bool) -> None:
    environment = LocalEnvironment()
    store = TCPStore(
        environment.main_address,
        environment.main_port,
        world_size=1,
        is_master=True,
        timeout=timedelta(seconds=10),
        use_libuv=use_libuv,
    )
    store.set("key", "value")
    assert store.get("key") == b"value"
    environment.teardown()


def test_processes_that_do_not_match_the_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    LocalEnvironment().validate_settings(num_devices=2, num_nodes=2)
    with pytest.raises(ValueError, match=r"makes 2 processes, but WORLD_SIZE says 4"):
        LocalEnvironment().validate_settings(num_devices=2, num_nodes=1)
