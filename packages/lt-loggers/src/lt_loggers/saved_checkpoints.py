"""Checkpoints on their way to a tracker: which ones are new, and what's told about them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import WarningCache
from lt_interfaces.roles import CheckpointRole

_warned = WarningCache()


@dataclass(frozen=True)
class SavedCheckpoint:
    """One checkpoint that a callback wrote: a file, or a folder where its state is sharded."""

    path: Path
    score: float | None
    """The value of the metric that the callback monitors, where it knows one."""
    is_best: bool

    @property
    def aliases(self) -> list[str]:
        """The names that a tracker finds it by, besides its version."""
        return ["latest", "best"] if self.is_best else ["latest"]


class NewCheckpoints:
    """Remembers which checkpoints went to the tracker, and tells the others.

    Args:
        log_model: the logger's argument. ``True``: those that are left when a run ends well, or each where the callback
            keeps all; ``"all"``: each one when it was saved; ``False``: none.

    Raises:
        MisconfigurationException: ``log_model`` is something else.
    """

    def __init__(self, log_model: bool | Literal["all"]) -> None:
        if log_model not in (True, False, "all"):
            message = f'`log_model` must be True, False or "all", got {log_model!r}.'
            raise MisconfigurationException(message)
        self._log_model: Final = log_model
        self._sent: Final[dict[str, int]] = {}
        self._waiting: Final[list[CheckpointRole]] = []

    def at_once(self, callback: CheckpointRole) -> list[SavedCheckpoint]:
        """Return what's to be sent now that the callback has saved, oldest first."""
        if not self._log_model:
            return []
        if self._log_model == "all" or getattr(callback, "save_top_k", None) == -1:
            return self._take(callback)
        if not any(callback is other for other in self._waiting):
            self._waiting.append(callback)
        return []

    def at_end(self) -> list[tuple[CheckpointRole, SavedCheckpoint]]:
        """Return what's to be sent now that the run ended well, each with the callback that saved it."""
        return [(callback, checkpoint) for callback in self._waiting for checkpoint in self._take(callback)]

    def __getstate__(self) -> dict[str, Any]:
        # The callbacks of a run are no part of the logger that another process gets.
        return {**self.__dict__, "_waiting": []}

    def _take(self, callback: CheckpointRole) -> list[SavedCheckpoint]:
        new = []
        for checkpoint in _local_checkpoints(callback):
            saved_at = checkpoint.path.stat().st_mtime_ns
            if self._sent.get(str(checkpoint.path)) != saved_at:
                self._sent[str(checkpoint.path)] = saved_at
                new.append((saved_at, checkpoint))
        return [checkpoint for _, checkpoint in sorted(new, key=lambda pair: pair[0])]


def callback_settings(callback: CheckpointRole) -> dict[str, Any]:
    """Return how the callback chose its checkpoints, to be kept beside them."""
    names = ("monitor", "mode", "save_last", "save_top_k", "every_n_epochs")
    return {name: getattr(callback, name) for name in names if hasattr(callback, name)}


def _local_checkpoints(callback: CheckpointRole) -> Iterator[SavedCheckpoint]:
    """Yield those of the callback's checkpoints that are on disk, each once."""
    scores: dict[str, Any] = {callback.last_model_path: getattr(callback, "current_score", None)}
    scores[callback.best_model_path] = getattr(callback, "best_model_score", None)
    scores |= getattr(callback, "best_k_models", {})
    for path, score in scores.items():
        if "://" in path:
            _warned.warn(
                f"The checkpoint {path} isn't sent to the tracker, as it isn't in a local folder (`log_model`)."
            )
        # One that is still being written gets its turn with the next.
        elif path and os.path.exists(path):
            number = None if score is None else float(score)
            yield SavedCheckpoint(Path(path), score=number, is_best=path == callback.best_model_path)
