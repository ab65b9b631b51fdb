import pytest
import torch

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Assembly, MisconfigurationException
from lt_strategies.ranks import ranks_of


@pytest.fixture
def environment() -> LocalEnvironment:
    return LocalEnvironment()


def assembly(environment: LocalEnvironment, *, num_devices: int, num_nodes: int = 1) -> Assembly:
    devices = [torch.device("cpu", index) for index in range(num_devices)]
    return Assembly(CPUAccelerator(), devices, num_nodes, environment, FullPrecision())


def test_ranks_count_through_the_nodes(environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("NODE_RANK", "2")
    ranks = ranks_of(assembly(environment, num_devices=3, num_nodes=4))
    assert (ranks.global_rank, ranks.local_rank, ranks.node_rank, ranks.world_size) == (7, 1, 2, 12)


def test_environment_that_does_not_know_is_told(environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    ranks_of(assembly(environment, num_devices=2))
    assert (environment.global_rank(), environment.world_size()) == (1, 2)


def test_each_local_rank_has_its_device(environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks_of(assembly(environment, num_devices=2)).device == torch.device("cpu", 1)


def test_more_ranks_than_devices_are_refused(environment: LocalEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(MisconfigurationException, match=r"local rank 2, but `devices` names 2.*Start 2 processes"):
        ranks_of(assembly(environment, num_devices=2))
