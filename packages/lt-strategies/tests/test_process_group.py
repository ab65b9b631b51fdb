import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lt_strategies.job_store import JobStore
from lt_strategies.process_group import ProcessGroup, default_backend, with_cpu
from lt_strategies.ranks import Ranks

SHORT = timedelta(seconds=30)
ALONE = Ranks(global_rank=0, local_rank=0, node_rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture
def store() -> JobStore:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return JobStore.open("127.0.0.1", port, rank=0, world_size=1, timeout=SHORT)


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    group = ProcessGroup(backend=None, timeout=SHORT)
    yield group
    group.leave()


@pytest.fixture
def group_of_the_program(tmp_path: Path) -> Iterator[object]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_default_backend_takes_tensors_of_the_device_and_of_the_cpu(device: str, backend: str) -> None:
    assert default_backend(torch.device(device)) == backend


@pytest.mark.parametrize(
    ("asked", "device", "backend"),
    [
        ("nccl", "cuda", "cpu:gloo,cuda:nccl"),
        ("gloo", "cuda", "gloo"),
        ("gloo", "cpu", "gloo"),
        ("cpu:mpi,cuda:nccl", "cuda", "cpu:mpi,cuda:nccl"),
    ],
)
def test_gloo_stands_beside_a_backend_that_takes_no_tensors_of_the_cpu(asked: str, device: str, backend: str) -> None:
    assert with_cpu(asked, torch.device(device)) == backend


def test_next_run_takes_the_group_over(group: ProcessGroup, store: JobStore) -> None:
    group.join(store, ALONE)
    first = dist.group.WORLD
    ProcessGroup(backend="gloo", timeout=SHORT).join(store, ALONE)
    assert dist.group.WORLD is first


def test_a_run_with_another_backend_gets_a_group_of_its_own(group: ProcessGroup, store: JobStore) -> None:
    group.join(store, ALONE)
    first = dist.group.WORLD
    ProcessGroup(backend="cpu:gloo", timeout=SHORT).join(store, ALONE)
    assert dist.group.WORLD is not first


def test_who_left_is_in_no_group_and_may_leave_again(group: ProcessGroup, store: JobStore) -> None:
    group.join(store, ALONE)
    group.leave()
    group.leave()
    assert not dist.is_initialized()


def test_aborting_leaves_no_group(group: ProcessGroup, store: JobStore) -> None:
    group.join(store, ALONE)
    group.abort()
    assert not dist.is_initialized()


def test_group_of_the_program_is_used_and_left_alone(
    group_of_the_program: object, group: ProcessGroup, store: JobStore
) -> None:
    group.join(store, ALONE)
    group.leave()
    assert dist.group.WORLD is group_of_the_program


@pytest.mark.usefixtures("group_of_the_program")
def test_group_of_another_size_is_refused(group: ProcessGroup) -> None:
    with pytest.raises(RuntimeError, match=r"rank 0 of 1, but the run has rank 0 of 2.*`init_process_group`"):
        group.refuse_other(Ranks(0, 0, 0, 2, torch.device("cpu")))


def test_group_of_ours_with_another_size_may_be_left_for_a_new_one(group: ProcessGroup, store: JobStore) -> None:
    group.join(store, ALONE)
    group.refuse_other(Ranks(0, 0, 0, 2, torch.device("cpu")))
