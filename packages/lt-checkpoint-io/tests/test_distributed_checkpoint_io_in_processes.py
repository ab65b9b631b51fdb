"""DistributedCheckpointIO in two real processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sharded_ranks
import torch
from torch.multiprocessing import start_processes

from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_interfaces.testing.ranks import run_in_processes

pytestmark = pytest.mark.usefixtures("forking_server")


def run_both(task: Callable[[int, Path], None], folder: Path) -> None:
    start_processes(sharded_ranks.run_rank, (str(folder), task), nprocs=2, start_method="forkserver")  # type: ignore[no-untyped-call]


def save_expected(folder: Path, name: str) -> dict[str, Any]:
    checkpoint = sharded_ranks.state_after_a_step(sharded_ranks.network())
    DistributedCheckpointIO().save_checkpoint(checkpoint, folder / name)
    torch.save(checkpoint, folder / "expected.pt")
    return checkpoint


def test_what_two_ranks_save_one_process_loads(tmp_path: Path) -> None:
    run_both(sharded_ranks.save_sharded, tmp_path)
    loaded = DistributedCheckpointIO().load_checkpoint(tmp_path / "sharded")
    expected = sharded_ranks.state_after_a_step(sharded_ranks.network())
    for name, weight in expected["state_dict"].items():
        assert torch.allclose(weight, loaded["state_dict"][name], atol=1e-6)
    for rank in (0, 1):
        seen = torch.load(tmp_path / f"seen_by_{rank}.pt", weights_only=True)
        assert torch.equal(seen["state_dict"]["0.weight"], loaded["state_dict"]["0.weight"])
    assert loaded["epoch"] == 1
    assert "only here" not in loaded
    assert torch.equal(loaded["rng"], expected["rng"])
    assert {file.name for file in (tmp_path / "sharded").glob("*.distcp")} == {"__0_0.distcp", "__1_0.distcp"}


def test_what_one_process_saves_two_ranks_load_into_their_shards(tmp_path: Path) -> None:
    save_expected(tmp_path, "single")
    run_both(sharded_ranks.load_into_shards, tmp_path)
    assert (tmp_path / "rank0_done").exists()
    assert (tmp_path / "rank1_done").exists()


def test_a_placed_load_reads_only_the_stored_parts_that_a_rank_needs(tmp_path: Path) -> None:
    as_saved, *otherwise = zip(*run_in_processes(sharded_ranks.load_placed_in_many_ways, tmp_path), strict=True)
    assert as_saved == ([0], [4])  # 7 rows are cut into 4 and 3
    assert otherwise == 3 * [([0, 4], [0, 4])]


def test_a_failure_of_rank_0_is_raised_on_all_ranks_and_the_next_save_works(tmp_path: Path) -> None:
    save_expected(tmp_path, "sharded")
    run_both(sharded_ranks.fail_on_rank_0, tmp_path)
    first, second = (tmp_path / "failures_1").read_text().splitlines()
    assert "Rank 0 couldn't save" in first
    assert "pickle" in first
    assert "file/below" in second
    assert len((tmp_path / "failures_0").read_text().splitlines()) == 2
    assert DistributedCheckpointIO().load_checkpoint(tmp_path / "sharded") == {"epoch": 3}


def test_a_failure_of_another_rank_is_raised_on_all_and_loses_nothing(tmp_path: Path) -> None:
    save_expected(tmp_path, "sharded")
    run_both(sharded_ranks.fail_on_rank_1, tmp_path)
    for rank in (0, 1):
        assert "No space left" in (tmp_path / f"failed_{rank}").read_text()
    assert DistributedCheckpointIO().load_checkpoint(tmp_path / "sharded")["epoch"] == 1
    assert not [entry for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")]


def test_a_kill_in_the_middle_of_a_save_leaves_the_previous_folder_whole(tmp_path: Path) -> None:
    save_expected(tmp_path, "sharded")
    with pytest.raises(Exception, match="SIGKILL"):
        run_both(sharded_ranks.die_while_saving, tmp_path)
    checkpoint_io = DistributedCheckpointIO()
    assert checkpoint_io.is_whole(tmp_path / "sharded")
    assert checkpoint_io.load_checkpoint(tmp_path / "sharded")["epoch"] == 1
    (torn,) = (entry for entry in tmp_path.iterdir() if entry.name.endswith(".tmp"))
    assert list(torn.iterdir())
    assert not checkpoint_io.is_whole(torn)
    assert str(torn) not in [found.path for found in checkpoint_io.stored(tmp_path)]
