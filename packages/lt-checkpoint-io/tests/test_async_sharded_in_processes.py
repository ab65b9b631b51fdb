"""AsyncCheckpointIO around DistributedCheckpointIO, in two real processes."""

import multiprocessing
from pathlib import Path
from typing import Any

import async_sharded_ranks as ranks
import pytest

from lt_checkpoint_io.async_checkpoint_io import AsyncCheckpointIO
from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_interfaces.checkpoint_io import CheckpointTraits
from lt_interfaces.testing.ranks import run_in_processes

pytestmark = pytest.mark.usefixtures("forking_server")


def test_it_says_that_it_is_sharded_and_asynchronous() -> None:
    traits = AsyncCheckpointIO(DistributedCheckpointIO()).traits
    assert traits == CheckpointTraits(sharded=True, asynchronous=True)


def test_training_goes_on_on_the_default_group_while_ranks_save(tmp_path: Path) -> None:
    assert run_in_processes(ranks.train_while_saving, tmp_path) == [20, 20]


def test_a_snapshot_of_sharded_state_holds_the_own_shards_alone(tmp_path: Path) -> None:
    run_in_processes(ranks.take_snapshot, tmp_path)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each rank was told of failures on one rank."""
    folder = tmp_path_factory.mktemp("failures")
    DistributedCheckpointIO().save_checkpoint({"epoch": 0}, folder / "sharded")
    told: list[dict[str, Any]] = run_in_processes(ranks.fail_in_every_way, folder)
    return told


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_in_the_background_is_raised_on_all_ranks_at_the_same_poll(
    told: list[dict[str, Any]], failing: int
) -> None:
    (first, first_text), (second, second_text) = (one[f"poll {failing}"] for one in told)
    assert first == second > 0
    assert "No space left" in first_text
    assert "No space left" in second_text


@pytest.mark.parametrize("call", ["next save", "teardown"])
def test_a_failure_in_the_background_is_raised_on_all_ranks_by_the_next_call(
    told: list[dict[str, Any]], call: str
) -> None:
    assert all("No space left" in one[call] for one in told)


@pytest.mark.parametrize("failing", [0, 1])
def test_what_one_rank_cannot_copy_or_write_is_saved_by_none(told: list[dict[str, Any]], failing: int) -> None:
    other = told[1 - failing]
    assert told[failing][f"snapshot {failing}"] == "ValueError: no copy of this"
    assert f"rank {failing}: ValueError('no copy of this')" in other[f"snapshot {failing}"]
    assert "meta device" in told[failing][f"split {failing}"]
    assert f"rank {failing}: ValueError" in other[f"split {failing}"]


def test_a_removal_that_fails_on_rank_0_is_raised_on_all_ranks_by_the_next_save(told: list[dict[str, Any]]) -> None:
    assert told[0]["removal"].startswith("PermissionError")
    assert "rank 0: PermissionError" in told[1]["removal"]


def test_it_goes_on_after_failures_and_leaves_nothing_behind(told: list[dict[str, Any]]) -> None:
    assert told[0]["left"] == told[1]["left"] == ["sharded"]


def test_a_process_group_that_was_made_again_is_used(tmp_path: Path) -> None:
    run_in_processes(ranks.save_in_one_group_after_another, tmp_path)


@pytest.mark.parametrize(("victim", "file"), [(0, ".distcp"), (1, ".distcp"), (0, "meta.pt"), (0, "lt_manifest")])
def test_a_kill_in_the_background_leaves_the_previous_checkpoint_whole(tmp_path: Path, victim: int, file: str) -> None:
    DistributedCheckpointIO().save_checkpoint({"epoch": 1}, tmp_path / "sharded")
    context = multiprocessing.get_context("forkserver")
    arguments = (str(tmp_path), victim, file)
    processes = [context.Process(target=ranks.die_in_the_background, args=(rank, *arguments)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(40)
        if process.is_alive():
            process.kill()
            pytest.fail("a rank hangs")
    assert [process.exitcode for process in processes] == [-9 if rank == victim else 7 for rank in (0, 1)]
    assert (tmp_path / f"told_{1 - victim}").read_text() != "none"
    checkpoint_io = DistributedCheckpointIO()
    assert checkpoint_io.is_whole(tmp_path / "sharded")
    assert checkpoint_io.load_checkpoint(tmp_path / "sharded") == {"epoch": 1}
