import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lt_interfaces import rank_zero
from lt_interfaces.rank_zero import WarningCache, rank_from_environment, set_global_rank


@pytest.fixture(autouse=True)
def _restored_rank() -> Iterator[None]:
    yield
    set_global_rank(0)


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "3", "LOCAL_RANK": "1"}, 3),
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "5"}, 1),
        ({"SLURM_PROCID": "5"}, 5),
        ({"JSM_NAMESPACE_RANK": "7"}, 7),
        ({"RANK": "", "SLURM_PROCID": "2"}, 2),
        ({"OMPI_COMM_WORLD_RANK": "3"}, 3),
        ({"PMI_RANK": "4"}, 4),
    ],
)
def test_rank_is_read_from_the_launchers_variables_in_order(environment: dict[str, str], rank: int) -> None:
    assert rank_from_environment(environment) == rank


def test_other_ranks_stay_silent(caplog: pytest.LogCaptureFixture) -> None:
    set_global_rank(1)
    rank_zero.rank_zero_warn("nobody hears this")  # a warning would fail this test
    rank_zero.rank_zero_info("nor this")
    assert not caplog.records


def test_info_reaches_the_lt_logger_with_the_callers_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lt"):
        rank_zero.rank_zero_info("epoch %d", 3)
        WarningCache().info("cached")
    assert [record.message for record in caplog.records] == ["epoch 3", "cached"]
    assert {record.filename for record in caplog.records} == {"test_rank_zero.py"}


def test_warning_points_at_the_caller() -> None:
    with pytest.warns(UserWarning, match="look here") as caught:
        rank_zero.rank_zero_warn("look here")
    assert caught[0].filename == __file__


def test_warning_cache_says_each_message_once() -> None:
    cache = WarningCache()
    with pytest.warns(UserWarning, match="careful") as caught:
        cache.warn("careful")
    cache.warn("careful")  # a second warning would fail this test
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="old"):
        cache.deprecation("old")
    cache.deprecation("old")


@pytest.mark.parametrize(("prelude", "line"), [("", "hello"), ("logging.basicConfig(); ", "INFO:lt:hello")])
def test_info_is_shown_once_with_and_without_logging_configuration(prelude: str, line: str) -> None:
    code = f"import logging; {prelude}from lt_interfaces.rank_zero import rank_zero_info; rank_zero_info('hello')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == [line]


def test_global_rank_is_what_was_set_last() -> None:
    set_global_rank(5)
    assert rank_zero.global_rank() == 5
