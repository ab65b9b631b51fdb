"""What every cluster environment promises."""

import os

import pytest

from lt_interfaces.environment import ClusterEnvironment


class EnvironmentContract:
    """Subclass it and override `environment`, made where the process looks as if it had been started there."""

    @pytest.fixture
    def environment(self) -> ClusterEnvironment:
        """Return the environment to check."""
        raise NotImplementedError

    def test_says_when_it_is_asked(self, environment: ClusterEnvironment) -> None:
        assert isinstance(environment.detection_priority, int)

    def test_detecting_has_no_side_effects(self, environment: ClusterEnvironment) -> None:
        before = dict(os.environ)
        assert environment.detect() is environment.detect()
        assert dict(os.environ) == before

    def test_says_who_creates_processes(self, environment: ClusterEnvironment) -> None:
        assert environment.creates_processes_externally in (True, False)

    def test_the_main_process_has_one_address(self, environment: ClusterEnvironment) -> None:
        assert environment.main_address
        assert environment.main_address == environment.main_address

    def test_the_main_process_has_one_port(self, environment: ClusterEnvironment) -> None:
        port = environment.main_port
        assert 0 < port < 65536
        assert environment.main_port == port

    def test_the_global_rank_is_one_of_the_world(self, environment: ClusterEnvironment) -> None:
        assert 0 <= environment.global_rank() < environment.world_size()

    def test_ranks_count_from_zero(self, environment: ClusterEnvironment) -> None:
        assert environment.local_rank() >= 0
        assert environment.node_rank() >= 0

    def test_a_world_size_is_taken_or_ignored(self, environment: ClusterEnvironment) -> None:
        known = environment.world_size()
        environment.set_world_size(known + 3)
        assert environment.world_size() in (known, known + 3)

    def test_a_global_rank_is_taken_or_ignored(self, environment: ClusterEnvironment) -> None:
        known = environment.global_rank()
        environment.set_world_size(known + 3)
        environment.set_global_rank(known + 2)
        assert environment.global_rank() in (known, known + 2)

    def test_agrees_with_settings_that_match_what_was_started(self, environment: ClusterEnvironment) -> None:
        environment.validate_settings(num_devices=environment.world_size(), num_nodes=1)

    def test_teardown_may_be_called_twice(self, environment: ClusterEnvironment) -> None:
        environment.teardown()
        environment.teardown()

    def test_using_it_leaves_no_variables_behind(self, environment: ClusterEnvironment) -> None:
        before = dict(os.environ)
        _ = (environment.main_address, environment.main_port, environment.world_size(), environment.local_rank())
        environment.teardown()
        assert set(os.environ) <= set(before)
