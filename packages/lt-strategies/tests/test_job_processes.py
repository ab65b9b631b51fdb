import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Assembly
from lt_strategies.job_processes import JobProcesses
from lt_strategies.launchers.processes import ProcessLauncher
from lt_strategies.launchers.script import ScriptLauncher


class PlainEnvironment(LocalEnvironment):
    """One that can be sent to a process."""


def assembly() -> Assembly:
    return Assembly(CPUAccelerator(), [torch.device("cpu")] * 2, 1, PlainEnvironment(), FullPrecision())


def test_unknown_start_method_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"`start_method='thread'` must be 'popen', 'spawn', 'fork' or 'forkserver'"):
        JobProcesses(start_method="thread")  # type: ignore[arg-type]  # what a user may write


@pytest.mark.parametrize("every", [0, -1])
def test_ranks_tell_each_other_at_every_step_or_less_often(every: int) -> None:
    with pytest.raises(ValueError, match=rf"`preemption_check_every={every}` must be at least 1"):
        JobProcesses(preemption_check_every=every)


@pytest.mark.parametrize(
    ("method", "launcher"),
    [("popen", ScriptLauncher), ("spawn", ProcessLauncher), ("fork", ProcessLauncher), ("forkserver", ProcessLauncher)],
)
def test_start_method_decides_on_the_launcher(method: Any, launcher: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    job = JobProcesses(start_method=method)
    job.connect(assembly())
    assert isinstance(job.launcher, launcher)


def test_processes_that_others_start_need_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    job = JobProcesses()
    job.connect(assembly())
    assert job.launcher is None
    assert (job.ranks.global_rank, job.ranks.world_size) == (1, 2)
    assert dict(job.distributed_sampler_kwargs) == {"num_replicas": 2, "rank": 1}


def test_what_belongs_to_a_process_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    job = JobProcesses(start_method="spawn", timeout=timedelta(seconds=7), preemption_check_every=3)
    job.connect(assembly())
    job._watch = job._guard = _unpicklable()
    there: Any = pickle.loads(pickle.dumps(job))
    assert (there.launcher, there._watch, there._guard) == (None, None, None)
    assert (there._start_method, there._check_every, there._group.timeout) == ("spawn", 3, timedelta(seconds=7))
    assert there.ranks == job.ranks


def _unpicklable() -> Any:
    here: Callable[[], None] = lambda: None  # noqa: E731
    return here


def test_job_of_one_process_exchanges_no_flags() -> None:
    assert JobProcesses().open_flag_exchange(None) is None


def test_failure_of_a_job_that_never_started_is_raised_as_it_is() -> None:
    failure = ValueError("too early")
    assert JobProcesses().announce_failure(failure, step=None) is failure


def test_leaving_before_joining_and_twice_is_fine() -> None:
    job = JobProcesses()
    job.connect(assembly())
    job.leave()
    job.leave()
