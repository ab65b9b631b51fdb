"""Where checkpoints lie: finding the folder, a free name in it, and what may be deleted from it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lt_callbacks.run import Run
from lt_interfaces.commit import commit_file, commit_folder, remove_committed


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL rather than a local file.

    >>> is_remote("s3://bucket/run"), is_remote("/tmp/run")
    (True, False)
    """
    return "://" in str(path)


def absolute(folder: str | os.PathLike[str]) -> str:
    """Return a local folder without ``~``, links and relative parts; URLs stay as they are."""
    return str(folder) if is_remote(folder) else os.path.realpath(os.path.expanduser(folder))


def join(folder: str, *parts: str) -> str:
    """Return a path below a folder, local or remote.

    >>> join("s3://bucket/run/", "checkpoints", "a.ckpt"), join("", "a.ckpt")
    ('s3://bucket/run/checkpoints/a.ckpt', 'a.ckpt')
    """
    if not is_remote(folder):
        return os.path.join(folder, *parts)
    return "/".join([folder.rstrip("/"), *(part for part in parts if part)])


def default_folder(trainer: Run) -> str:
    """Return the folder of checkpoints where the user named none: in the first logger's run, else under the root."""
    if not trainer.loggers:
        return join(trainer.default_root_dir, "checkpoints")
    logger = trainer.loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    parts = [logger.name or "", version, "checkpoints"]
    return join(logger.save_dir or trainer.default_root_dir, *parts)


def free_path(
    stem: str,
    extension: str,
    *,
    replacing: str | None = None,
    exists: Callable[[str], bool] = os.path.lexists,
    first_version: int = 1,
) -> str:
    """Return ``stem + extension``, with ``-v1``, ``-v2``, ... where that name is taken by somebody else.

    Args:
        stem: the path without its extension.
        extension: with its dot.
        replacing: a path that may be overwritten.
        exists: tells whether a path is taken.
        first_version: the number tried first.

    >>> free_path("a", ".ckpt", exists={"a.ckpt", "a-v1.ckpt"}.__contains__)
    'a-v2.ckpt'
    """
    path = stem + extension
    version = first_version
    while path != replacing and exists(path):
        path = f"{stem}-v{version}{extension}"
        version += 1
    return path


def may_remove(path: str, *, folder: str, resumed_from: str | os.PathLike[str] | None) -> bool:
    """Whether a checkpoint that's no longer wanted is ours to delete.

    What the run was resumed from isn't, nor is anything outside the folder.
    """
    if is_remote(path):
        return path != str(resumed_from) and path.startswith(f"{folder.rstrip('/')}/")
    target = Path(path).absolute()
    if resumed_from is not None and target == Path(resumed_from).absolute():
        return False
    return Path(absolute(folder)) in (Path(os.path.realpath(target.parent)) / target.name).parents


def point_to(target: str, link: str) -> None:
    """Make ``link`` a relative symbolic link to a checkpoint, or a copy where the file system has no links.

    The link appears in one step: a kill leaves what was there before.
    """
    temporary = f"{link}.tmp"
    remove_committed(temporary)
    if os.path.isdir(link) and not os.path.islink(link):
        remove_committed(link)
    try:
        os.symlink(os.path.relpath(target, os.path.dirname(link)), temporary)
        os.replace(temporary, link)
    except OSError:
        remove_committed(temporary)
        _copy(target, link)


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        with commit_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
        return
    with open(source, "rb") as original, commit_file(target) as copy:
        shutil.copyfileobj(original, copy)


def found_again(
    path: str, *, old_folder: str | None, new_folder: str | None, has_remote: Callable[[str], bool] | None = None
) -> str | None:
    """Return where a saved checkpoint is now: where it was, or moved along with its folder; ``None`` if it's gone.

    Args:
        path: where it was.
        old_folder: its folder then.
        new_folder: that folder now.
        has_remote: tells whether there's a checkpoint at a URL; by default each is taken to be there.

    >>> found_again("s3://bucket/a.ckpt", old_folder=None, new_folder=None)
    's3://bucket/a.ckpt'
    """
    if not path or _exists(path, has_remote):
        return path or None
    if not old_folder or not new_folder:
        return None
    moved = _moved(path, old_folder, new_folder)
    return moved if _exists(moved, has_remote) else None


def _exists(path: str, has_remote: Callable[[str], bool] | None) -> bool:
    if is_remote(path):
        return has_remote is None or has_remote(path)
    return os.path.exists(path)


def _moved(path: str, old_folder: str, new_folder: str) -> str:
    is_below = is_remote(path) and path.startswith(old_folder)
    relative = path.removeprefix(old_folder).strip("/") if is_below else os.path.relpath(path, old_folder)
    return join(new_folder, relative) if is_remote(new_folder) else os.path.normpath(join(new_folder, relative))
