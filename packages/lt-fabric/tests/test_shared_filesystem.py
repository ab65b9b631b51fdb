"""Ranks agree on whether they see the same files."""

from pathlib import Path

from shared_folder_ranks import seen_in_process

from lt_fabric.shared_filesystem import is_shared_filesystem
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.testing.ranks import run_in_processes


def test_one_process_shares_with_itself_and_urls_are_shared() -> None:
    assert is_shared_filesystem(SingleDeviceStrategy("cpu"), path=Path("/nowhere"))
    assert is_shared_filesystem(SingleDeviceStrategy("cpu"), path="s3://bucket")


def test_ranks_find_out_together_and_leave_nothing(tmp_path: Path) -> None:
    for seen in run_in_processes(seen_in_process, tmp_path):
        assert seen == {"same": True, "different": False, "private": False}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
