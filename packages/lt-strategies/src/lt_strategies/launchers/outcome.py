"""What a process that was started with a function leaves for its parent: a result, or how it failed."""

import pickle
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lt_interfaces import MisconfigurationException
from lt_strategies.failure.lost_connection import is_lost_connection
from lt_strategies.failure.record import PeerFailure, ProcessEndedError

_LATER_SECONDS: Final = 1.0


class RankTraceback(Exception):
    """The traceback of another process, as the cause of what's raised here."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """How one process failed."""

    rank: int
    seconds: float
    """When, since the epoch; a lost connection, which has its cause elsewhere, counts as a moment later."""
    text: str
    pickled: bytes | None
    exit_code: int | None = None
    """What `sys.exit` was called with."""
    notes: tuple[str, ...] = ()
    """Of the exception."""
    is_peer: bool = False
    """Whether it only follows from another process's failure."""

    @classmethod
    def of(cls, failure: BaseException, rank: int) -> "Failure":
        """Take down an exception of this process."""
        return cls(
            rank=rank,
            seconds=time.time() + (_LATER_SECONDS if is_lost_connection(failure) else 0),
            text=_text(failure),
            pickled=_pickled(failure),
            exit_code=_exit_code(failure) if isinstance(failure, SystemExit) else None,
            notes=tuple(getattr(failure, "__notes__", ())),
            is_peer=isinstance(failure, PeerFailure),
        )

    def revive(self) -> BaseException:
        """Return the exception to raise in the parent, with the other process's traceback as its cause."""
        failure = self._exception()
        failure.__notes__ = list(self.notes)
        if not any(note.startswith(f"rank {self.rank} ") for note in self.notes):
            failure.add_note(f"rank {self.rank} failed: the first failure of the job.")
        failure.__cause__ = RankTraceback(self.text)
        return failure

    def _exception(self) -> BaseException:
        if self.exit_code is not None:
            return ProcessEndedError(f"rank {self.rank} called `sys.exit({self.exit_code})`.")
        if self.pickled is not None:
            failure: BaseException = pickle.loads(self.pickled)
            return failure
        return RuntimeError(self.text.rstrip().splitlines()[-1])


class Mailbox:
    """A folder in which processes leave their outcomes.

    Args:
        folder: empty, and only this user's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def leave_result(self, result: Any) -> None:
        """Leave what the function returned on rank 0.

        Raises:
            MisconfigurationException: it can't be pickled.
        """
        try:
            torch.save(result, self._result)
        except Exception as error:
            message = (
                f"What the function returned can't be sent to the process that started this one: {error}. Return "
                "something that can be pickled, or use `strategy='ddp'`, where nothing has to be sent."
            )
            raise MisconfigurationException(message) from error

    def leave_failure(self, failure: Failure) -> None:
        """Leave how this process failed."""
        whole = self._failure(failure.rank)
        torn = whole.with_suffix(".part")
        torn.write_bytes(pickle.dumps(failure))
        torn.rename(whole)

    def result(self) -> Any:
        """Return what the function returned on rank 0."""
        return torch.load(self._result, weights_only=False)  # written by a process of our own, in a private folder

    def failure(self, rank: int) -> Failure | None:
        """Return how that process failed, if it could say so."""
        left = self._failure(rank)
        if not left.exists():
            return None
        failure: Failure = pickle.loads(left.read_bytes())
        return failure

    @property
    def _result(self) -> Path:
        return self.folder / "result.pt"

    def _failure(self, rank: int) -> Path:
        return self.folder / f"failure-{rank}.pickle"


def _text(failure: BaseException) -> str:
    """Return the traceback without notes, which travel with the exception itself."""
    formatted = traceback.TracebackException.from_exception(failure)
    formatted.__notes__ = None
    return "".join(formatted.format())


def _exit_code(failure: SystemExit) -> int:
    """Return the exit code that the interpreter would end with."""
    if failure.code is None:
        return 0
    return failure.code if isinstance(failure.code, int) else 1


def _pickled(failure: BaseException) -> bytes | None:
    """Return the pickled exception, if it comes back as what it was."""
    try:
        pickled = pickle.dumps(failure)
        back = pickle.loads(pickled)
    except Exception:  # whatever a stranger's `__reduce__` or `__init__` raises
        return None
    return pickled if type(back) is type(failure) else None
