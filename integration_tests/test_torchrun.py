"""A job under torchrun whose arguments name another number of processes is refused before anybody waits."""

from pathlib import Path

import pytest
from jobs import TORCHRUN, run_job


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--devices=3",), "`devices` (3 here) times `num_nodes=1` makes 3 processes"),
        (("--num-nodes=2",), "`devices` (2 here) times `num_nodes=2` makes 4 processes"),
    ],
)
def test_settings_that_do_not_match_what_torchrun_started_are_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    ended = run_job(tmp_path, "ddp", *options, before=TORCHRUN)
    assert ended.returncode != 0
    assert f"ValueError: {said}, but 2 were started" in ended.stderr
    assert "torchrun's `--nproc-per-node` and `--nnodes`" in ended.stderr
