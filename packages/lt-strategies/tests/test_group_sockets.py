import socket
import threading
import time

import plain_job
import pytest
import torch
import torch.distributed as dist

from lt_interfaces.testing.ranks import run_in_processes
from lt_strategies.failure.lost_connection import is_lost_connection
from lt_strategies.group_sockets import GroupSockets


def wait_for_a_rank_that_never_comes() -> float:
    """Return after how long a wait ended, here or there, once rank 0 had closed its connections."""
    sockets = GroupSockets()
    with sockets.opened_within():
        plain_job.join()
    held = dist.group.WORLD  # as DistributedDataParallel holds it
    dist.barrier()
    began = time.monotonic()
    if dist.get_rank() == 0:
        threading.Timer(0.5, sockets.shut_down).start()
    with pytest.raises(RuntimeError) as raised:
        dist.broadcast(torch.ones(1), src=1 - dist.get_rank())  # each waits for the other
    assert is_lost_connection(raised.value)
    assert held is not None
    return time.monotonic() - began


def test_whoever_waits_is_freed_here_and_there() -> None:
    for seconds in run_in_processes(wait_for_a_rank_that_never_comes):
        assert seconds < plain_job.TIMEOUT.total_seconds() - 1


def test_other_connections_are_left_alone() -> None:
    sockets = GroupSockets()
    with socket.create_server(("127.0.0.1", 0)) as server:
        with sockets.opened_within():
            ours = socket.create_connection(server.getsockname())
        users = socket.create_connection(server.getsockname())
        ours_there, _ = server.accept()
        users_there, _ = server.accept()
        sockets.shut_down()
        assert ours_there.recv(1) == b""
        users.sendall(b"x")
        assert users_there.recv(1) == b"x"
        for one in (ours, users, ours_there, users_there):
            one.close()
