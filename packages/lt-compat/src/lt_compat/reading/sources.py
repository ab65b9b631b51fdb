"""The files of a code base that may use Lightning."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from lt_compat.modules import ROOTS

PYTHON: Final = {".py", ".pyi"}
CONFIGS: Final = {".json", ".toml", ".yaml", ".yml"}
_MENTIONS: Final = tuple(root.encode() for root in ROOTS)
_SAYS_SO_EVERY: Final = 200
"""Files between two lines of progress."""


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the Python and configuration files at and below some paths, in order.

    Folders that are hidden, hold a virtual environment, or were made by Python are left out below a folder; a path
    that is given is read whatever it is.

    Raises:
        FileNotFoundError: there's nothing at a path.
        ValueError: a file is given that's neither Python nor a configuration.
    """
    for path in paths:
        if path.is_dir():
            yield from _below(path)
        elif not path.exists():
            message = f"there's nothing at {path}"
            raise FileNotFoundError(message)
        elif path.suffix not in PYTHON | CONFIGS:
            kinds = ", ".join(sorted(PYTHON | CONFIGS))
            message = f"{path} can't be read: it's none of {kinds}"
            raise ValueError(message)
        else:
            yield path


def mentions_lightning(source: bytes) -> bool:
    """Say whether a file can have anything to do with Lightning, without parsing it."""
    return any(root in source for root in _MENTIONS)


def with_progress(files: list[Path]) -> Iterator[Path]:
    """Yield files, saying on a terminal now and then how many are done."""
    for done, file in enumerate(files):
        if done and done % _SAYS_SO_EVERY == 0 and sys.stderr.isatty():
            sys.stderr.write(f"{done} of {len(files)} files\n")
        yield file


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_left_out(Path(where, name)))
        yield from (Path(where, name) for name in sorted(names) if Path(name).suffix in PYTHON | CONFIGS)


def _is_left_out(folder: Path) -> bool:
    made = folder.name in {"__pycache__", "node_modules"} or folder.name.endswith((".egg-info", ".dist-info"))
    return made or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()
