"""What `importlib.metadata` answers for Lightning's distributions."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution
from os import PathLike
from pathlib import Path
from typing import Any, Final

from lt_compat.names import LIGHTNING_VERSION

NAMES: Final = ("lightning", "pytorch-lightning", "lightning-fabric")
"""The distributions that Lightning comes in."""


class StandInDistribution(Distribution):
    """A distribution of Lightning's that isn't installed, but whose names are there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return (
                f"Metadata-Version: 2.1\nName: {self._name}\nVersion: {LIGHTNING_VERSION}\nSummary: lt, by lt-compat\n"
            )
        return None

    def locate_file(self, path: str | PathLike[str]) -> Any:
        return Path(path)


def distributions_named(name: str | None) -> Iterator[Distribution]:
    """Return the stand-in of that name, in any spelling; nothing for others' names, and where all are asked for."""
    normal = re.sub(r"[-_.]+", "-", name or "").lower()
    return iter([StandInDistribution(normal)] if normal in NAMES else [])
