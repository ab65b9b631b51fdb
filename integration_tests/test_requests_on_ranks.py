"""What one rank asks for all honour one step later, what all ask for at once."""

from pathlib import Path

import pytest
from asking_ranks import steps

from lt_interfaces.testing.ranks import run_in_processes


@pytest.mark.parametrize("saves", [False, True], ids=["stop", "checkpoint"])
@pytest.mark.parametrize(("ranks", "expected"), [([1], 4), ([0, 1], 3)])
def test_requests_are_honoured_together(tmp_path: Path, ranks: list[int], expected: int, saves: bool) -> None:
    assert run_in_processes(steps, str(tmp_path), ranks, saves) == [expected] * 2
