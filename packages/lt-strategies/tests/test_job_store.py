import os
import socket
import time
from datetime import timedelta

import plain_job
import pytest
import torch.distributed as dist

from lt_interfaces.testing.ranks import run_in_processes
from lt_strategies.job_store import STORE_HOSTED, JobStore

SHORT = timedelta(seconds=30)


def open_here(port: int, rank: int = 0) -> JobStore:
    return JobStore.open("127.0.0.1", port, rank=rank, world_size=1, timeout=SHORT)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


def test_a_process_opens_its_store_once(port: int) -> None:
    assert open_here(port) is open_here(port)


def test_rank_zero_holds_the_store_that_nobody_holds_yet(port: int) -> None:
    store = open_here(port)
    assert store.is_held_here
    assert store.holder == "rank 0"


def meet_under_own_name() -> list[str]:
    store = plain_job.open_store()
    rank = os.environ["LOCAL_RANK"]
    mine = store.group_store("meeting")
    mine.set(rank, f"rank {rank}")
    found = [mine.get(str(one)).decode() for one in range(2)]
    mine.set(f"{rank} has read", "")
    if rank == "0":
        mine.wait(["1 has read"])  # the store ends with this process
    return found


def test_all_ranks_meet_in_the_store() -> None:
    assert run_in_processes(meet_under_own_name) == [["rank 0", "rank 1"]] * 2


def join_twice() -> list[int]:
    sizes = []
    for _ in range(2):
        plain_job.join()
        sizes.append(dist.get_world_size())
        dist.barrier()  # a group that one rank leaves while others still connect is an error there
        dist.destroy_process_group()
    return sizes


def test_each_process_group_has_a_part_of_its_own() -> None:
    assert run_in_processes(join_twice) == [[2, 2]] * 2


def test_what_a_launcher_holds_is_found_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    hosted = JobStore.host("127.0.0.1", timeout=SHORT)
    hosted.group_store("meeting").set("key", "value")
    monkeypatch.setenv(STORE_HOSTED, "1")
    found = open_here(hosted.port)
    assert not found.is_held_here
    assert found.group_store("meeting").get("key") == b"value"


def test_a_launcher_that_is_a_rank_uses_the_store_it_holds() -> None:
    hosted = JobStore.host("127.0.0.1", timeout=SHORT)
    hosted.keep_open()
    assert open_here(hosted.port) is hosted


def test_two_jobs_that_pick_ports_at_a_time_get_different_ones() -> None:
    stores = [JobStore.host("127.0.0.1", timeout=SHORT) for _ in range(20)]
    assert len({store.port for store in stores}) == 20


def test_store_of_torchruns_agent_is_joined_by_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = JobStore.host("127.0.0.1", timeout=SHORT)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    found = open_here(agent.port)
    assert found.holder == "torchrun's agent"
    assert not found.is_held_here


def test_a_restarted_job_sees_no_keys_of_its_earlier_life(monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore.host("127.0.0.1", timeout=SHORT)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    store.group_store("meeting").set("key", "value")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not store.group_store("meeting").check(["key"])


def test_another_client_works_while_this_one_waits() -> None:
    store = JobStore.host("127.0.0.1", timeout=SHORT)
    client = store.new_client()
    client.set("key", "value")
    assert store.new_client().get("key") == b"value"


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError, match=rf"Port {port} on 127.0.0.1.*`MASTER_PORT` to a free port"):
            open_here(port)


def test_a_store_that_is_not_there_is_named(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE_HOSTED, "1")
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"127.0.0.1:{port} didn't answer rank 1.*launcher's process"):
        JobStore.open("127.0.0.1", port, rank=1, world_size=2, timeout=timedelta(seconds=1))
    assert time.monotonic() - began < 20
