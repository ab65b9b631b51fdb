"""Where a run's files go: ``<save_dir>/<name>/version_<n>``."""

import os
import re
from pathlib import Path
from typing import Final

from lt_interfaces.errors import MisconfigurationException

StrPath = str | os.PathLike[str]

_VERSION_FOLDER = re.compile(r"version_(\d+)")


def next_version(root_dir: StrPath) -> int:
    """Return one more than the highest ``version_<n>`` folder there, 0 where there is none.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "version_4").mkdir()
    >>> next_version(root), next_version(root / "not there")
    (5, 0)
    """
    root = Path(root_dir)
    if not root.is_dir():
        return 0
    matches = (_VERSION_FOLDER.fullmatch(entry.name) for entry in root.iterdir() if entry.is_dir())
    return max((int(match[1]) + 1 for match in matches if match), default=0)


class RunFolder:
    """The folder of one run, found when first asked for and fixed from then on; asking writes nothing.

    Environment variables and ``~`` in ``save_dir`` are expanded.

    Args:
        save_dir: the folder that all experiments share.
        name: the experiment; ``None`` and ``""`` put versions into ``save_dir`` itself.
        version: an int ``n`` means ``version_n``, a string is the folder's name; ``None`` means the next free number.
        root_dir: another name for ``save_dir``; exactly one of the two is given.

    Raises:
        MisconfigurationException: neither or both folders are given, or the folder isn't a local one.
    """

    def __init__(
        self,
        save_dir: StrPath | None,
        *,
        name: str | None,
        version: int | str | None,
        root_dir: StrPath | None = None,
    ) -> None:
        self.save_dir: Final = _local_folder(save_dir, root_dir)
        self.name: Final = name or ""
        self.root_dir: Final = os.path.join(self.save_dir, self.name) if self.name else self.save_dir
        self._version = version

    @property
    def version(self) -> int | str:
        """The version as given, else the next free number at the time of the first look."""
        if self._version is None:
            self._version = next_version(self.root_dir)
        return self._version

    @property
    def path(self) -> str:
        """The folder of this run."""
        version = self.version
        return os.path.join(self.root_dir, version if isinstance(version, str) else f"version_{version}")


def _local_folder(save_dir: StrPath | None, root_dir: StrPath | None) -> str:
    if (save_dir is None) == (root_dir is None):
        message = (
            f"Give a logger one folder, `save_dir` (or its other name `root_dir`); "
            f"got `save_dir={save_dir!r}` and `root_dir={root_dir!r}`."
        )
        raise MisconfigurationException(message)
    folder = os.fspath(save_dir if save_dir is not None else root_dir)  # type: ignore[arg-type]  # one of them is given
    if "://" in folder:
        message = f"`save_dir` must be a local folder, got {folder!r}; log locally and copy the folder afterwards."
        raise MisconfigurationException(message)
    return os.path.expandvars(os.path.expanduser(folder))
