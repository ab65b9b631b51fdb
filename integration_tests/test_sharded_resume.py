"""A sharded run goes on exactly, to the bit, from wherever it was saved."""

import tempfile
from functools import cache

import pytest
from sharded_resuming_ranks import SAVED_AFTER, WAYS, go_on

from lt_interfaces.testing.ranks import run_in_processes


@cache
def found() -> list[dict[str, tuple[list[float], list[float]]]]:
    with tempfile.TemporaryDirectory() as folder:
        return run_in_processes(go_on, folder, timeout_seconds=100)


@pytest.mark.parametrize("way", WAYS)
def test_each_rank_has_the_losses_of_the_run_that_went_on_by_itself(way: str) -> None:
    # A checkpoint asked for within a window is written at its end.
    begins = 4 if way == "within a window" else SAVED_AFTER + 1
    for of_rank in found():
        whole, resumed = of_rank[way]
        assert len(resumed) > 0
        assert resumed == whole[begins:]
