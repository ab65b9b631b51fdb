import sys
import traceback
from typing import Any

import pytest
from fabric_pretence import ManyStrategy
from gathering_ranks import seed_once_set_up

from lt_fabric.assemble import assemble
from lt_fabric.hardware import resolve_hardware
from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_fabric.runtime import Runtime, set_up_process, tear_down_process
from lt_interfaces.testing.ranks import run_in_processes


def runtime(**arguments: Any) -> Runtime:
    return assemble(resolve_hardware(**{"accelerator": "cpu", **arguments}))


def test_launching_without_a_launcher_adds_no_frame() -> None:
    def depth(first: int, *, second: int) -> tuple[int, int, int]:
        return len(traceback.extract_stack()) - here, first, second

    here = len(traceback.extract_stack())
    assert runtime().launch(depth, 1, second=2) == (1, 1, 2)


def test_a_strategys_launcher_is_used() -> None:
    strategy = ManyStrategy()
    assert runtime(strategy=strategy).launch(sys.intern, "a") == "a"
    assert runtime(strategy=strategy).launch == strategy.started.launch  # type: ignore[union-attr]  # made with one


def test_a_runtime_never_changes() -> None:
    with pytest.raises(AttributeError):
        runtime().num_nodes = 2  # type: ignore[misc]  # the mistake under test


def test_a_process_can_be_set_up_again_after_it_was_torn_down() -> None:
    ready = runtime()
    for _ in range(2):
        set_up_process(ready)
        tear_down_process(ready)


def test_what_went_wrong_with_a_pending_save_is_raised_after_the_rest_was_torn_down() -> None:
    class Failing(LocalCheckpointIO):
        def teardown(self) -> None:
            message = "disk full"
            raise OSError(message)

    ready = runtime(plugins=Failing())
    port = ready.environment.main_port
    with pytest.raises(OSError, match="disk full"):
        tear_down_process(ready)
    assert ready.environment.main_port != port


def test_all_ranks_go_by_the_seed_of_rank_0_and_are_told_where_they_differ() -> None:
    for seeds, expected, told in (
        ([None, "5"], None, "None on rank 0, 5 on rank 1"),
        (["7", "5"], "7", "7 on rank 0, 5 on rank 1"),
        (["5", "5"], "5", None),
    ):
        for seed, messages in run_in_processes(seed_once_set_up, seeds):
            assert seed == expected
            assert [told in message for message in messages] == [True] * (told is not None)
