"""Base classes of Lightning's that users derive from, with what lt's contracts ask beyond them.

Each is what its name resolves to: a class derived from it brings Lightning's methods, and the rest is here. What
fulfils lt's contract is an instance of it too, so that `isinstance` says of lt's own classes what it said of
Lightning's.
"""

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from os import PathLike
from pathlib import Path
from signal import Signals
from typing import Any

import lt_interfaces
from lt_fabric import FullPrecision
from lt_interfaces import CheckpointTraits, StoredCheckpoint
from lt_interfaces.commit import visible_entries
from lt_interfaces.rank_zero import rank_zero_only

_logger = logging.getLogger("lt")


class _CountsContract(ABC):
    """Lets everything that fulfils a contract of lt count as an instance of the class that stands for Lightning's."""

    _contract: type

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        # By the line of bases: asking the contract would come back here, which derives from it.
        return True if "_contract" in vars(cls) and cls._contract in other.__mro__ else NotImplemented


class CheckpointIO(_CountsContract, lt_interfaces.CheckpointIO):
    """Saves, loads and removes checkpoints; derive from it and bring those three methods.

    What lies at a path counts as whole: whether a file of the derived class's own format is, only that class knows, and
    may say by overriding `is_whole`.
    """

    _contract = lt_interfaces.CheckpointIO

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        load = vars(cls).get("load_checkpoint")
        if load is not None and not _takes(load, "weights_only"):
            cls.load_checkpoint = _without_weights_only(load)  # type: ignore[method-assign]

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits()

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        return [StoredCheckpoint(path, modified) for path, modified in visible_entries(folder)]

    def is_whole(self, path: str | PathLike[str]) -> bool:
        return Path(path).exists()

    def poll(self) -> None:
        """Do nothing: what goes wrong is raised by the save itself."""

    def teardown(self) -> None:
        """Do nothing; a derived class may finish pending saves here."""


class ClusterEnvironment(_CountsContract, lt_interfaces.ClusterEnvironment):
    """Knows the ranks of a process; derive from it and bring Lightning's ten methods."""

    _contract = lt_interfaces.ClusterEnvironment

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Do nothing; a derived class may compare them with what it started."""

    @property
    def requeue_signal(self) -> Signals | None:
        return None

    def requeue(self) -> None:
        message = f"{type(self).__name__} has no queue to put the job into."
        raise RuntimeError(message)

    def teardown(self) -> None:
        """Do nothing; a derived class may remove the variables that it set."""


class Precision(_CountsContract, FullPrecision):
    """Full precision, for classes that override some of its methods; every precision counts as an instance."""

    _contract = lt_interfaces.Precision


class Profiler(_CountsContract, lt_interfaces.Profiler):
    """Measures named spans; derive from it and bring `start` and `stop`.

    Args:
        dirpath: folder of the report; ``None``: the run's log folder.
        filename: the report's file name without stage and extension; ``None``: the report is logged.
    """

    _contract = lt_interfaces.Profiler

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None) -> None:
        self.dirpath = dirpath
        self.filename = filename
        self._stage: str | None = None
        self._local_rank: int | None = None
        self._log_dir: str | None = None

    @abstractmethod
    def start(self, action_name: str) -> None:
        """Begin a span."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """End a span."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self._stage, self._local_rank, self._log_dir = stage, local_rank, log_dir

    def summary(self) -> str:
        return ""

    def describe(self) -> None:
        """Append the summary to ``<dirpath>/<stage>-<filename>[-<rank>].txt``, or log it on rank 0."""
        report = self.summary()
        if not report:
            return
        if self.filename is None:
            rank_zero_only(_logger.info)(report)
            return
        parts = [part for part in (self._stage, self.filename, self._local_rank) if part is not None]
        folder = Path(self.dirpath or self._log_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{'-'.join(map(str, parts))}.txt").open("a") as file:
            file.write(report)

    def teardown(self, stage: str | None) -> None:
        """Do nothing; a derived class may close files here."""


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _without_weights_only(load: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out an argument that Lightning gave its checkpoint IOs late, and classes of before don't take."""

    @wraps(load)
    def loaded(*args: Any, weights_only: bool | None = None, **kwargs: Any) -> Any:
        return load(*args, **kwargs)

    return loaded
