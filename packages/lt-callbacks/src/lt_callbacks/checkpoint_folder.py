"""Where checkpoints lie: finding the folder, a free name in it, and what may be deleted from it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lt_callbacks.run import Run
from lt_interfaces.commit import commit_file, commit_folder, remove_committed

_FIRST_VERSION = 1


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL rather than a local file.

    >>> is_remote("s3://bucket/run"), is_remote("/tmp/run")
    (True, False)
    """
    return "://" in str(path)


def absolute(folder: str | os.PathLike[str]) -> str:
    """Return a local folder without ``~``, links and relative parts; URLs stay as they are."""
    return str(folder) if is_remote(folder) else os.path.realpath(os.path.expanduser(folder))


def default_folder(trainer: Run) -> str:
    """Return the folder of checkpoints where the user named none: in the first logger's run, else under the root."""
    if not trainer.loggers:
        return os.path.join(trainer.default_root_dir, "checkpoints")
    logger = trainer.loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    parts = [logger.name or "", version, "checkpoints"]
    return os.path.join(logger.save_dir or trainer.default_root_dir, *parts)


def free_path(
    stem: str, extension: str, *, replacing: str | None = None, exists: Callable[[str], bool] = os.path.lexists
) -> str:
    """Return ``stem + extension``, with ``-v1``, ``-v2``, ... where that name is taken by somebody else.

    Args:
        stem: the path without its extension.
        extension: with its dot.
        replacing: a path that may be overwritten.
        exists: tells whether a path is taken.

    >>> free_path("a", ".ckpt", exists={"a.ckpt", "a-v1.ckpt"}.__contains__)
    'a-v2.ckpt'
    """
    path = stem + extension
    version = _FIRST_VERSION
    while path != replacing and exists(path):
        path = f"{stem}-v{version}{extension}"
        version += 1
    return path


def may_remove(path: str, *, folder: str, resumed_from: str | os.PathLike[str] | None) -> bool:
    """Whether a checkpoint that's no longer wanted is ours to delete.

    What the run was resumed from isn't, nor is any local file outside the folder.
    """
    if is_remote(path):
        return True
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


def found_again(path: str, *, old_folder: str | None, new_folder: str | None) -> str | None:
    """Return where a saved checkpoint is now: where it was, or moved along with its folder; ``None`` if it's gone.

    >>> found_again("s3://bucket/a.ckpt", old_folder=None, new_folder=None)
    's3://bucket/a.ckpt'
    """
    if not path or is_remote(path) or os.path.exists(path):
        return path or None
    if not old_folder or not new_folder or is_remote(new_folder):
        return None
    moved = os.path.normpath(os.path.join(new_folder, os.path.relpath(path, old_folder)))
    return moved if os.path.exists(moved) else None
