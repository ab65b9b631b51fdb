"""The connections of process groups, so that they can be closed while somebody waits for them."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OPEN_FILES: Final = Path("/proc/self/fd")


class GroupSockets:
    """Knows the sockets that gloo opened for the groups of this process.

    torch aborts NCCL's groups alone. A gloo group keeps its connections as long as anybody holds it, e.g.
    `DistributedDataParallel`; closing them from below fails what waits for them, here and on the other ranks. Where the
    system doesn't say which files are open (it's Linux that does), nothing is known and nothing closed.
    """

    def __init__(self) -> None:
        self._known: Final[set[int]] = set()
        """By inode: numbers of files are used again."""

    @contextlib.contextmanager
    def opened_within(self) -> Iterator[None]:
        """Take the sockets that are opened within the context for those of a group that is made there."""
        before = set(_sockets().values())
        try:
            yield
        finally:
            self._known.update(set(_sockets().values()) - before)

    def shut_down(self) -> None:
        """Close their connections, from any thread."""
        for descriptor, inode in _sockets().items():
            if inode in self._known:
                # What isn't connected any more can't be shut down.
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                    connection.getpeername()  # a socket that listens has none; without it gloo would end the process
                    connection.shutdown(socket.SHUT_RDWR)
        self._known.clear()


GROUP_SOCKETS: Final = GroupSockets()
"""Those of this process."""


def _sockets() -> dict[int, int]:
    """Return the inodes of all open sockets by number of file."""
    if not _OPEN_FILES.exists():
        return {}
    found = {}
    for name in os.listdir(_OPEN_FILES):
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found[int(name)] = status.st_ino
    return found
