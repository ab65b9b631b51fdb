"""Names for what is being written, and the removal of what killed writers left behind.

A writer holds a lock on its temporary file or folder for as long as it lives; the system drops the lock with the
process, however that ends. Who gets the lock therefore knows that the writer is gone. Because some network file systems
keep locks within one machine, the name also says under which running kernel it was made: one from elsewhere is
abandoned only after a day of silence. An empty one is left alone for a minute, for its writer may be about to take the
lock. Where the system has no such locks, nothing is removed.
"""

import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

_PATTERN: Final = re.compile(r"\..*\.([0-9a-f]{32})\.tmp", re.DOTALL)
_SILENT_SECONDS: Final = 24 * 3600
_BEGINNING_SECONDS: Final = 60


def temporary_beside(target: Path) -> Path:
    """Return a hidden name that nobody else uses, in the target's folder."""
    # Names may hold 255 bytes: 50 characters leave room for the rest in every encoding.
    return target.parent / f".{target.name[:50]}.{_kernel()}{uuid.uuid4().hex[:24]}.tmp"


@contextmanager
def held(temporary: Path) -> Iterator[None]:
    """Keep others from sweeping a temporary file or folder while it's written."""
    descriptor = _lock(temporary)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Delete the temporaries in a folder whose writers are gone; what can't be deleted stays."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(folder)
    for match in filter(None, map(_PATTERN.fullmatch, names)):
        with suppress(OSError):
            _sweep_one(folder / match[0], is_ours=match[1].startswith(_kernel()))


def delete(path: Path) -> None:
    """Delete a file or folder; nothing there is fine."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except FileNotFoundError:  # somebody else sweeps it at the same time
        shutil.rmtree(path, ignore_errors=True)


def _sweep_one(path: Path, *, is_ours: bool) -> None:
    is_empty = not any(path.iterdir()) if path.is_dir() else path.stat().st_size == 0
    patience = _BEGINNING_SECONDS * is_empty if is_ours else _SILENT_SECONDS
    if time.time() - path.stat().st_mtime < patience:
        return
    descriptor = _lock(path)
    if descriptor is None:
        return
    try:
        delete(path)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock until it's closed; ``None`` where it's taken or there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@cache
def _kernel() -> str:
    """Return eight digits that all processes on this machine share until it is started again."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]
    except OSError:
        return f"{uuid.getnode() & 0xFFFFFFFF:08x}"
