"""A connection that ends when another process does."""

import socket
from typing import Final

_CONNECT_SECONDS: Final = 30.0


class Lifeline:
    """A connection on which nothing is ever said.

    Its end is noticed without asking anything of a process that's gone, which torch's store would print a page about.

    Args:
        address: of the process to keep an eye on.
        port: one on which it listens, and lets silent clients be.
    """

    def __init__(self, address: str, port: int) -> None:
        self._socket: Final = socket.create_connection((address, port), timeout=_CONNECT_SECONDS)
        self._socket.setblocking(False)

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()

    def has_ended(self) -> bool:
        """Say whether the other side is gone."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Look no more."""
        self._socket.close()
