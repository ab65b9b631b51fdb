"""Telling a connection that another rank's end has closed from failures of one's own."""

from typing import Final

from torch.distributed import DistBackendError, DistNetworkError

# As gloo and torch word it; both raise plain RuntimeErrors for most of them.
_SIGNS: Final = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection was likely closed",
    "Broken pipe",
    "Socket closed",
    "Connection refused",
    "remote process exited",
    "communicator was aborted",
)


def is_lost_connection(failure: BaseException) -> bool:
    """Say whether a failure only tells that another rank can't be reached any more.

    >>> is_lost_connection(RuntimeError("[pair.cc:547] Connection closed by peer [127.0.0.1]:4711"))
    True
    >>> is_lost_connection(ConnectionResetError("Connection reset by peer"))
    False
    """
    if isinstance(failure, DistNetworkError):
        return True
    # Errors of the user's own sockets and pipes are OSErrors.
    if not isinstance(failure, DistBackendError | RuntimeError):
        return False
    return any(sign in str(failure) for sign in _SIGNS)
