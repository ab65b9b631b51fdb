"""What each of some real processes sees; in a module of its own, which a forked server can import by name."""

import os
from pathlib import Path
from typing import Any

from gathering_ranks import Gloo

from lt_fabric import shared_filesystem
from lt_fabric.shared_filesystem import is_shared_filesystem


def seen_in_process(folder: Path) -> dict[str, bool]:
    """Return what this rank finds of a folder that both have, of two folders, and of one whose files others miss."""
    strategy: Any = Gloo()
    strategy.is_global_zero = strategy.global_rank == 0
    own = folder / os.environ["RANK"]
    own.mkdir()
    found = {"same": is_shared_filesystem(strategy, folder), "different": is_shared_filesystem(strategy, own)}
    if not strategy.is_global_zero:
        shared_filesystem._appears = lambda file, timeout_seconds: False
    return {**found, "private": is_shared_filesystem(strategy, folder, timeout=0.1)}
