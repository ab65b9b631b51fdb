import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the processes, too

import lonely_ranks  # lies there

from lt_interfaces.testing import DistributedStrategyContract  # as above


def test_promises_that_it_keeps_are_not_found_fault_with() -> None:
    DistributedStrategyContract().test_ranks_count_the_processes(lonely_ranks.lonely)


@pytest.mark.parametrize(
    "promise",
    [
        DistributedStrategyContract.test_reductions_take_the_values_of_all,
        DistributedStrategyContract.test_objects_of_either_rank_reach_all,
        DistributedStrategyContract.test_all_train_the_weights_of_rank_0,
    ],
)
def test_ranks_that_work_alone_are_found_out(promise: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        promise(DistributedStrategyContract(), lonely_ranks.lonely)
