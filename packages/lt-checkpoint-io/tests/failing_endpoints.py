"""Endpoints that fail in earnest: a TCP proxy that is cut, and a store whose process dies between two operations."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem


class CutProxy:
    """Passes connections on to a server until a number of bytes went there; then every connection is cut for good.

    Args:
        target: the server.
        bytes_until_cut: how many bytes.
        instead: what happens then, once, in place of the cut.
    """

    def __init__(self, target: str, bytes_until_cut: int, instead: Callable[[], None] | None = None) -> None:
        self._instead = instead
        host, _, port = target.rpartition(":")
        self._target = (host.removeprefix("http://"), int(port))
        self._left = bytes_until_cut
        self.passed_on = 0
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def was_cut(self) -> bool:
        return self._left <= 0

    def cut(self) -> None:
        with self._lock:
            self._left = 0
            for open_socket in [self._listener, *self._sockets]:
                with suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
                open_socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if counts:
                    self._left -= len(data)
                    self.passed_on += len(data)
                    if self.was_cut and self._instead is not None:
                        self._left = 1 << 40
                        self._instead()
                    elif self.was_cut:
                        self.cut()
                        return
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class Killed(BaseException):
    """The process is gone."""


class DyingFile(MemoryFile):  # type: ignore[misc]  # fsspec has no types
    def write(self, data: Any) -> int:
        DyingStore.live()
        written: int = super().write(data)
        return written


class DyingStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store in memory for a process that is killed before its n-th change: nothing it tries afterwards happens."""

    protocol = "dying"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    changes_left: ClassVar[float] = float("inf")

    @classmethod
    def live(cls) -> None:
        cls.changes_left -= 1
        if cls.changes_left < 0:
            raise Killed

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("dying://").strip("/")

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode == "rb":
            return super()._open(path, mode, **kwargs)
        self.live()
        file = DyingFile(self, self._strip_protocol(path), kwargs.get("data"))
        file.commit()
        return file

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.live()
        super().cp_file(path1, path2, **kwargs)

    def rm_file(self, path: str) -> None:
        self.live()
        super().rm_file(path)
