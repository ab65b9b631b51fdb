"""Whether all ranks of a job see the same files."""

import tempfile
import time
from os import PathLike
from pathlib import Path

from lt_fabric.gathering import gather_objects
from lt_interfaces.strategy import Strategy


def is_shared_filesystem(strategy: Strategy, path: str | PathLike[str] | None = None, timeout: float = 3) -> bool:
    """Say whether a folder is the same on all ranks, by writing a file on rank 0; on all ranks.

    Args:
        strategy: of the ranks, which have been launched.
        path: a folder; by default the working folder. A URL is the same everywhere.
        timeout: seconds until a file that was written must be there on all ranks.

    Returns:
        The same on all ranks; False where they were given different folders.

    Raises:
        FileNotFoundError: rank 0 has no such folder.

    >>> from lt_fabric.single_device import SingleDeviceStrategy
    >>> is_shared_filesystem(SingleDeviceStrategy("cpu"))
    True
    """
    if path is not None and "://" in str(path):
        return True
    folder = Path.cwd() if path is None else Path(path).absolute()
    if strategy.world_size == 1:
        return True
    if len({str(given) for given in gather_objects(strategy, str(folder))}) > 1:
        return False
    if strategy.is_global_zero:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".is-shared-") as probe:
            return _all_see(strategy, Path(probe.name), timeout)
    return _all_see(strategy, None, timeout)


def _all_see(strategy: Strategy, written: Path | None, timeout_seconds: float) -> bool:
    """Compare what the ranks see of the file that rank 0 has written."""
    (name, *_) = gather_objects(strategy, None if written is None else str(written))
    return all(gather_objects(strategy, _appears(Path(str(name)), timeout_seconds)))


def _appears(file: Path, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
