"""A part of a file, read as if it were a file of its own."""

import io
import os
from typing import Any, BinaryIO


class FileSlice(io.RawIOBase):
    """Bytes ``start`` to ``start + length`` of an open file; closing it leaves the file open.

    >>> io.BufferedReader(FileSlice(io.BytesIO(b"before|inside|after"), 7, 6)).read()
    b'inside'
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    # the buffer is whatever the caller reads into: bytearray, memoryview, array
    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._length - self._position))
        self._file.seek(self._start + self._position)
        read: int = self._file.readinto(view[:wanted])  # type: ignore[attr-defined]  # typeshed's BinaryIO lacks it
        self._position += read
        return read
