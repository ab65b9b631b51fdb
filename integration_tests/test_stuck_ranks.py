"""Ranks that wait for a stuck one give up in time, also in a group that isn't that of all ranks."""

from pathlib import Path

from stuck_ranks import STUCK, TIMEOUT_SECONDS, wait_for_a_stuck_rank

from lt_interfaces.testing.ranks import run_in_processes


def test_ranks_wait_in_a_group_of_a_mesh_no_longer_than_the_strategys_timeout(tmp_path: Path) -> None:
    raised = run_in_processes(wait_for_a_stuck_rank, str(tmp_path), world_size=4, timeout_seconds=100)
    said = [error for error, _ in raised]
    assert any("Timed out" in error for error in said)
    assert said[STUCK].startswith("PeerFailure")  # it slept in Python, where it can be reached
    assert max(seconds for _, seconds in raised) < TIMEOUT_SECONDS + 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]  # hooks ran on all
