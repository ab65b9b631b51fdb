from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from programs import PLAIN_JOB, run_program
from torch import nn

from lt_strategies.failure.collective_log import COLLECTIVES, SWITCH
from lt_strategies.wrapping import Wrapping

HERE = Path(__file__).name


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv(SWITCH, "1")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    COLLECTIVES.install_if_wanted()
    yield COLLECTIVES
    COLLECTIVES.uninstall()
    dist.destroy_process_group()


def test_without_the_switch_torch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    before = dist.all_reduce
    COLLECTIVES.install_if_wanted()
    COLLECTIVES.begin("bucket", "(3,)")()
    assert dist.all_reduce is before
    assert COLLECTIVES.lines() == []


def test_operation_shape_and_place_are_remembered(log: Any) -> None:
    dist.all_reduce(torch.ones(2, 3))
    dist.barrier()
    first, second = log.lines()
    assert first.startswith(f"all_reduce (2, 3) float32 at {HERE}:")
    assert second.startswith(f"barrier at {HERE}:")


def test_what_a_collective_uses_itself_is_not_told(log: Any) -> None:
    gathered: list[Any] = [None]
    dist.all_gather_object(gathered, "text")
    assert [line.split()[0] for line in log.lines()] == ["all_gather_object"]


def test_what_torch_starts_by_itself_is_noted_from_begin_to_end(log: Any) -> None:
    end = log.begin("average of gradients", "(12,)")
    assert log.lines()[0].startswith(f"average of gradients (12,) at {HERE}:")
    assert log.describe().startswith(f"waits in average of gradients (12,) at {HERE}:")
    end()
    assert log.describe().startswith(f"last finished average of gradients (12,) at {HERE}:")


def test_ddp_waits_in_its_average_of_gradients(log: Any) -> None:
    module = nn.Linear(2, 1)
    wrapped = Wrapping({}, None).wrap(module, torch.device("cpu"), num_optimizers=1)
    wrapped(torch.ones(1, 2)).sum().backward()
    assert log.lines()[-1].startswith(f"DDP's average of gradients (3,) torch.float32 at {HERE}:")


def test_only_the_last_ones_are_remembered(log: Any) -> None:
    for _ in range(100):
        log.begin("bucket")
    assert len(log.lines()) == 64


def test_a_rank_says_where_it_is_after_its_last_collective(log: Any) -> None:
    assert log.describe().startswith("has called no collective; its main thread is at ")
    dist.barrier()
    assert log.describe().startswith(f"last finished barrier at {HERE}:")


def test_a_collective_that_failed_is_told_of(log: Any) -> None:
    with pytest.raises(RuntimeError, match="root rank"):
        dist.broadcast(torch.ones(1), src=7)
    assert log.describe().startswith(f"gave up broadcast (1,) float32 at {HERE}:")


def test_torchs_functions_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    before = dist.all_reduce
    COLLECTIVES.install_if_wanted()
    assert dist.all_reduce is not before
    COLLECTIVES.uninstall()
    assert dist.all_reduce is before


def test_report_of_a_timeout_says_who_waits_where() -> None:
    ended = run_program(str(PLAIN_JOB), "script", "sleep", "1", LT_DEBUG_COLLECTIVES="1")
    first, second, last = (line.removeprefix("[rank0]: ") for line in ended.errors.splitlines()[-3:])
    assert first.startswith("rank 0 gave up all_reduce (3,) float32 at plain_job.py:")
    assert second.startswith("rank 1 last finished all_reduce (3,) float32 at plain_job.py:")
    assert "its main thread is at plain_job.py:" in second
    assert last == "rank 0 failed at global step 4: the first failure of the job."
