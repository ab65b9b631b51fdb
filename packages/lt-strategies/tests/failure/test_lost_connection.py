import pytest
from torch.distributed import DistBackendError, DistNetworkError

from lt_strategies.failure.lost_connection import is_lost_connection


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711"),
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection reset by peer"),
        DistBackendError("NCCL communicator was aborted on rank 0."),
        DistNetworkError("Failed to recv, got 0 bytes. Connection was likely closed."),
    ],
)
def test_lost_connections_of_torch_are_known(failure: Exception) -> None:
    assert is_lost_connection(failure)


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("Timed out waiting 5000ms for recv operation to complete"),
        ValueError("Connection closed by peer"),
        BrokenPipeError("Broken pipe"),
        KeyboardInterrupt(),
    ],
)
def test_failures_of_ones_own_are_not_lost_connections(failure: BaseException) -> None:
    assert not is_lost_connection(failure)
