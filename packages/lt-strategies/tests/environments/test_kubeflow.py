from collections.abc import Callable

import pytest

from lt_interfaces.testing import EnvironmentContract
from lt_strategies import KubeflowEnvironment


class TestKubeflowEnvironment(EnvironmentContract):
    @pytest.fixture
    def environment(self, variables: Callable[..., None]) -> KubeflowEnvironment:
        variables(MASTER_ADDR="pod-0", MASTER_PORT=23456, WORLD_SIZE=3, RANK=2)
        return KubeflowEnvironment()


def test_each_pod_is_a_node_with_one_process(variables: Callable[..., None]) -> None:
    variables(MASTER_ADDR="pod-0", MASTER_PORT=23456, WORLD_SIZE=3, RANK=2)
    environment = KubeflowEnvironment()
    assert (environment.global_rank(), environment.node_rank(), environment.local_rank()) == (2, 2, 0)
    assert (environment.main_address, environment.main_port) == ("pod-0", 23456)
    environment.validate_settings(num_devices=1, num_nodes=3)
    with pytest.raises(ValueError, match="makes 1 processes, but 3 were started"):
        environment.validate_settings(num_devices=1, num_nodes=1)


def test_is_not_detected_as_its_variables_are_everybodys(variables: Callable[..., None]) -> None:
    variables(KUBERNETES_PORT="x", MASTER_ADDR="pod-0", MASTER_PORT=23456, WORLD_SIZE=3, RANK=2)
    assert not KubeflowEnvironment.detect()


def test_outside_a_job_the_missing_variable_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"MASTER_ADDR .* isn't set"):
        _ = KubeflowEnvironment().main_address
    with pytest.raises(RuntimeError, match=r"MASTER_PORT .* isn't set"):
        _ = KubeflowEnvironment().main_port
