"""Crash-safe writing of local files and folders: a kill at any moment leaves the previous version whole.

Everything is written beside its target under a hidden temporary name, forced to disk, renamed, and the folder that
holds it is forced to disk too. A reader sees the old version or the new one, never a part of either.

A folder that exists cannot be replaced by a plain rename, neither by a folder nor by a file. Where the system can
exchange two names in one step (Linux on its usual file systems) that is done, and the old version is deleted
afterwards. Elsewhere the old one moves to ``.NAME.previous``, the new one takes its place, and the old one is deleted;
a kill between the two renames leaves nothing under the name itself, but both versions whole beside it:
`recover_folder` puts the old one back, and `commit_file` and `commit_folder` call it first.

What a kill may leave behind are hidden entries that end in ``.tmp``, which nothing reads. The next commit into the same
folder deletes them where their writer is known to be gone.
"""

import ctypes
import errno
import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lt_interfaces.temporaries import delete, held, sweep, temporary_beside

MANIFEST_NAME = "lt_manifest.json"

_ZIP_BEGIN = b"PK\x03\x04"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def commit_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is complete and on disk.

    Missing folders are made. An exception inside the block removes what was written and leaves the target untouched; so
    do errors of the file system (no permission, disk full), which surface as they are. A symbolic link is replaced, not
    followed. A folder that `commit_folder` wrote is replaced, and deleted afterwards.

    Raises:
        IsADirectoryError: the target is any other folder; nothing was written.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "weights.bin"
    >>> with commit_file(target) as file:
    ...     _ = file.write(b"all or nothing")
    >>> target.read_bytes()
    b'all or nothing'
    """
    target = Path(path)
    if _is_folder(target) and not (target / MANIFEST_NAME).is_file():
        message = f"A file cannot replace the folder {str(target)!r}; remove it or choose another name"
        raise IsADirectoryError(message)
    _make_folder(target.parent)
    sweep(target.parent)
    recover_folder(target)
    temporary = temporary_beside(target)
    try:
        temporary.touch(exist_ok=False)
        with held(temporary):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _take_place(temporary, target)
    except BaseException as error:
        with suppress(OSError):  # what went wrong before matters more
            temporary.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    _fsync(target.parent)


def commit_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file as `commit_file` does, newlines as given."""
    with commit_file(path) as file:
        file.write(text.encode())


@contextmanager
def commit_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder that appears under its name only when it is complete and on disk.

    Yields an empty folder beside the target; any process may write into it while the block is open. At the end of the
    block its manifest (every file with size and sha256) is written last, and the folder takes the target's place,
    whether that was free, a folder or a file. An exception inside the block removes the new folder and leaves the
    target untouched. One process per target calls this; the others wait for it.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "checkpoint"
    >>> with commit_folder(target) as folder:
    ...     _ = (folder / "shard_0.bin").write_bytes(b"weights")
    >>> is_whole(target)
    True
    """
    target = Path(path)
    _make_folder(target.parent)
    sweep(target.parent)
    recover_folder(target)
    temporary = temporary_beside(target)
    temporary.mkdir()
    try:
        with held(temporary):
            yield temporary
            _write_manifest(temporary)
            _take_place(temporary, target)
    except BaseException:
        delete(temporary)
        raise
    _fsync(target.parent)


def is_whole(path: str | os.PathLike[str], hashes: bool = False) -> bool:
    """Say whether a file or folder was written to its end; False where nothing is.

    A file in torch's zip format is whole when its central directory, which is written last, can be read and fits the
    file's beginning; any other file when it isn't empty. A folder is whole when its manifest is there and every file it
    lists has the right size.

    Args:
        path: what to look at.
        hashes: compare the contents of a folder's files too, which reads all of them.
    """
    target = Path(path)
    if target.is_dir():
        return _matches_manifest(target, hashes)
    if not target.is_file():
        return False
    with target.open("rb") as file:
        if not _ZIP_BEGIN.startswith(file.read(len(_ZIP_BEGIN))):
            return True
        return _is_whole_zip(file)


def visible_entries(folder: str | os.PathLike[str]) -> list[tuple[str, float]]:
    """Return path and modification time (seconds since the epoch) of what lies in a folder, hidden entries left out.

    Nothing, if there's no such folder. Dangling links are left out, too.
    """
    found = Path(folder)
    if not found.is_dir():
        return []
    entries = [entry for entry in found.iterdir() if not entry.name.startswith(".") and entry.exists()]
    return [(str(entry), entry.stat().st_mtime) for entry in entries]


def remove_committed(path: str | os.PathLike[str]) -> None:
    """Delete a file or folder so that it is gone at once or not at all; nothing there is fine.

    A folder leaves its name first and is deleted then, so a kill never leaves a folder with some of its files.
    """
    target = Path(path)
    delete(_previous_of(target))
    if _is_folder(target):
        doomed = temporary_beside(target)
        os.replace(target, doomed)
        _fsync(target.parent)
        delete(doomed)
    elif os.path.lexists(target):
        target.unlink()
        _fsync(target.parent)


def recover_folder(path: str | os.PathLike[str]) -> None:
    """Finish a folder replacement that a kill interrupted: put the old version back, or delete it if it is superseded.

    Needed only where names cannot be exchanged in one step; does nothing when there is nothing to recover.
    """
    target = Path(path)
    previous = _previous_of(target)
    if not os.path.lexists(previous):
        return
    if os.path.lexists(target):
        delete(previous)
        return
    os.replace(previous, target)
    _fsync(target.parent)


def _take_place(new: Path, target: Path) -> None:
    """Let a complete file or folder take its target's name; afterwards the old version is deleted."""
    if not os.path.lexists(target) or not (_is_folder(new) or _is_folder(target)):
        os.replace(new, target)
    elif _exchange(new, target):
        _fsync(target.parent)
        delete(new)
    else:
        previous = _previous_of(target)
        os.replace(target, previous)
        try:
            os.replace(new, target)
        except BaseException:
            recover_folder(target)
            raise
        _fsync(target.parent)
        delete(previous)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step of the file system; False where that isn't possible."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    failed = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return not failed


def _write_manifest(folder: Path) -> None:
    files = {}
    for file in _files_of(folder):
        _fsync(file)
        files[file.relative_to(folder).as_posix()] = {"size": file.stat().st_size, "sha256": _sha256(file)}
    manifest = folder / MANIFEST_NAME
    manifest.write_text(json.dumps({"version": 1, "files": files}, indent=1), encoding="utf-8")
    _fsync(manifest)
    for parent, _, _ in os.walk(folder, topdown=False):
        _fsync(Path(parent))


def _is_whole_zip(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            # A torn file may end in another archive that it holds; that one's entries don't begin with the file.
            return min((entry.header_offset for entry in archive.infolist()), default=-1) == 0
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        return False


def _matches_manifest(folder: Path, hashes: bool) -> bool:
    try:
        listed = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["files"]
        return all(_matches(folder / name, facts, hashes) for name, facts in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _matches(file: Path, facts: dict[str, int | str], hashes: bool) -> bool:
    return file.stat().st_size == facts["size"] and (not hashes or _sha256(file) == facts["sha256"])


def _files_of(folder: Path) -> list[Path]:
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(file for file in files if file != folder / MANIFEST_NAME)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _previous_of(target: Path) -> Path:
    return target.parent / f".{target.name}.previous"


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _fsync(folder.parent)


def _fsync(path: Path) -> None:
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # Windows has no handle of a folder to flush
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder; its entries are then as durable as that system makes them.
        if not (is_folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)
