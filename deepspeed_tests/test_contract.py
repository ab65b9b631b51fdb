"""DeepSpeedStrategy keeps the promises of every strategy, alone and on two ranks."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from engine_ranks import connected

from lt_interfaces import Strategy
from lt_interfaces.testing import DistributedStrategyContract, StrategyContract


@pytest.fixture(params=[1, 2, 3])
def strategy(request: pytest.FixtureRequest) -> Iterator[Strategy]:
    alone = connected(1, stage=request.param)
    yield alone
    alone.teardown()
    # alone._job._group.leave()  # of a process that lives on


class TestAlone(StrategyContract):
    @pytest.fixture
    def strategy(self, strategy: Strategy) -> Strategy:
        return strategy


class TestOnTwoRanks(DistributedStrategyContract):
    @pytest.fixture(params=[1, 2, 3])
    def make_strategy(self, request: pytest.FixtureRequest) -> Callable[[], Strategy]:
        return partial(connected, stage=request.param)
