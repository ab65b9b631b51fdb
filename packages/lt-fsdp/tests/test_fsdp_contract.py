"""FSDPStrategy keeps the promises of every strategy, alone and on two ranks."""

from collections.abc import Callable, Iterator

import pytest
from fsdp_ranks import connected

from lt_interfaces.strategy import Strategy
from lt_interfaces.testing import (
    DistributedStrategyContract,
    DistributedWindowContract,
    StrategyContract,
    WindowContract,
)


@pytest.fixture
def strategy() -> Iterator[Strategy]:
    alone = connected(1)
    yield alone
    alone.teardown()
    alone._job._group.leave()  # of a process that lives on


class TestAlone(StrategyContract):
    @pytest.fixture
    def strategy(self, strategy: Strategy) -> Strategy:
        return strategy


class TestWindowAlone(WindowContract):
    @pytest.fixture
    def strategy(self, strategy: Strategy) -> Strategy:
        return strategy


class TestOnTwoRanks(DistributedStrategyContract):
    @pytest.fixture
    def make_strategy(self) -> Callable[[], Strategy]:
        return connected


class TestWindowOnTwoRanks(DistributedWindowContract):
    @pytest.fixture
    def make_strategy(self) -> Callable[[], Strategy]:
        return connected
