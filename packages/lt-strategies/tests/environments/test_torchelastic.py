import os
import warnings

import pytest

from lt_interfaces.testing import EnvironmentContract
from lt_strategies.environments.torchelastic import TorchElasticEnvironment

_STARTED = {
    "TORCHELASTIC_RUN_ID": "none",
    "MASTER_ADDR": "first-host",
    "MASTER_PORT": "29400",
    "WORLD_SIZE": "4",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
}


@pytest.fixture(autouse=True)
def _torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _STARTED.items():
        monkeypatch.setenv(name, value)


class TestTorchElasticEnvironment(EnvironmentContract):
    @pytest.fixture
    def environment(self) -> TorchElasticEnvironment:
        return TorchElasticEnvironment()


def test_is_detected_by_the_run_id_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TorchElasticEnvironment.detect()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not TorchElasticEnvironment.detect()


def test_reads_who_it_is_from_torchruns_variables() -> None:
    environment = TorchElasticEnvironment()
    assert (environment.main_address, environment.main_port) == ("first-host", 29400)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    assert environment.creates_processes_externally


def test_what_the_strategy_believes_about_ranks_is_ignored() -> None:
    environment = TorchElasticEnvironment()
    environment.set_world_size(9)
    environment.set_global_rank(8)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)


def test_a_missing_meeting_point_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.delenv("MASTER_PORT")
    environment = TorchElasticEnvironment()
    with pytest.warns(UserWarning, match=r"`MASTER_ADDR`.*127\.0\.0\.1 is used"):
        assert environment.main_address == "127.0.0.1"
    with pytest.warns(UserWarning, match=r"`MASTER_PORT`.*12910 is used"):
        assert environment.main_port == 12910
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (environment.main_address, environment.main_port) == ("127.0.0.1", 12910)
    assert "MASTER_ADDR" not in os.environ


def test_settings_for_another_number_of_processes_are_refused() -> None:
    TorchElasticEnvironment().validate_settings(num_devices=2, num_nodes=2)
    with pytest.raises(ValueError, match=r"3 here\) times `num_nodes=2` makes 6 processes, but 4 .*--nproc-per-node"):
        TorchElasticEnvironment().validate_settings(num_devices=3, num_nodes=2)


def test_has_no_queue() -> None:
    environment = TorchElasticEnvironment()
    assert environment.requeue_signal is None
    with pytest.raises(RuntimeError, match="only SLURMEnvironment"):
        environment.requeue()
