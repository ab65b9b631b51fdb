"""The commit protocol in remote stores: a kill at any moment leaves the previous checkpoint whole, or the new one.

A save streams into a hidden key beside the target, lets the manifest accept what's there now and what is to come,
replaces the target in one step (object stores copy on their side, file systems rename), and lets the manifest accept
the new content alone. What a kill may leave behind are hidden keys that end in ``.tmp``, which nothing reads and which
are safe to delete.
"""

import hashlib
import io
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Final, cast

import torch

from lt_checkpoint_io.remote_object import Content, RemoteObject
from lt_checkpoint_io.stores import renames, store_failure

_CHUNK_BYTES: Final = 1 << 20
_WRITTEN: Final = "written"


def commit_remote(checkpoint: Mapping[str, Any], target: RemoteObject) -> None:
    """Stream a checkpoint into a store; it takes the target's place when all of it is there.

    Raises:
        OSError: the store failed; what was there before is whole.
    """
    temporary = target.beside(f".{target.name[:50]}.{uuid.uuid4().hex}.tmp")
    try:
        new = _upload(checkpoint, target, temporary)
        _publish(target, temporary, new)
    finally:
        with suppress(Exception):  # its name is hidden and its content safe elsewhere, or of no use
            target.store.rm_file(temporary)


def _upload(checkpoint: Mapping[str, Any], target: RemoteObject, temporary: str) -> Content:
    file = _opened(target, temporary)
    stream = _Upload(file)
    try:
        torch.save(checkpoint, cast(IO[bytes], stream))
        stream.finish()
    except BaseException:
        _abandon(file)
        if isinstance(stream.failure, Exception):
            raise store_failure(target.url, _WRITTEN, stream.failure) from stream.failure
        if stream.failure is not None:
            raise stream.failure from None
        raise
    return Content(stream.size, stream.digest.hexdigest())


def _opened(target: RemoteObject, key: str) -> Any:
    """Open a key for writing; real folders are made, buckets never are."""
    try:
        if renames(target.store):
            target.store.makedirs(target.store._parent(key), exist_ok=True)
        return target.store.open(key, "wb")
    except Exception as error:
        raise store_failure(target.url, _WRITTEN, error) from error


def _publish(target: RemoteObject, temporary: str, new: Content) -> None:
    store = target.store
    try:
        target.accept([*target.whole_now(), new])
        if renames(store):
            store.mv(temporary, target.key)
        else:
            store.cp_file(temporary, target.key)
        target.accept([new])
    except Exception as error:
        raise store_failure(target.url, _WRITTEN, error) from error


def _abandon(file: Any) -> None:
    """Drop an upload for good: neither its parts nor a late finaliser may complete it."""
    with suppress(Exception):
        file.discard()
    with suppress(Exception):
        file.closed = True


class _Upload(io.RawIOBase):
    """Passes on what torch writes, in small pieces, so that the store's library never holds a whole tensor.

    torch hides what went wrong in a write, an interruption too, behind an error of its own: it's kept in ``failure``.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()
        self.failure: BaseException | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CHUNK_BYTES):
            self._pass_on(view[start : start + _CHUNK_BYTES])
        return len(view)

    def finish(self) -> None:
        """Complete the upload."""
        try:
            self._file.close()
        except BaseException as error:
            self.failure = error
            raise

    def _pass_on(self, piece: memoryview) -> None:
        try:
            self._file.write(piece)
        except BaseException as error:
            self.failure = error
            raise
        self.digest.update(piece)
        self.size += len(piece)
