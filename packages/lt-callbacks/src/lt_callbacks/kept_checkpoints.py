"""The books of a `ModelCheckpoint`: what it has kept, and how that survives a resume."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from lt_callbacks.checkpoint_folder import found_again
from lt_callbacks.top_k import KEEP_ALL, TopK
from lt_interfaces.rank_zero import rank_zero_warn


@dataclass(frozen=True)
class KeptCheckpoints:
    """Which checkpoints are kept and why; never changed, only replaced."""

    top_k: TopK = field(default_factory=TopK)
    best_model_path: str = ""
    """The best by the monitored metric, or the newest where none is monitored."""
    last_model_path: str = ""
    current_score: Tensor | None = None
    """The value that was last decided on."""

    @property
    def best_model_score(self) -> Tensor | None:
        """The score of the best one, ``None`` where nothing is monitored."""
        return self.top_k.scores.get(self.best_model_path)

    def displaced_by(self, newer: "KeptCheckpoints") -> list[str]:
        """Return the paths in these books that newer books have no use for.

        >>> KeptCheckpoints(last_model_path="last.ckpt").displaced_by(KeptCheckpoints(last_model_path="last-v1.ckpt"))
        ['last.ckpt']
        """
        return sorted(self.paths() - newer.paths() - {""})

    def paths(self) -> set[str]:
        """Everything kept; the newest is one of many where all are."""
        newest = set() if self.top_k.k == KEEP_ALL else {self.best_model_path}
        return {*self.top_k.scores, self.last_model_path, *newest}

    def state_dict(self) -> dict[str, Any]:
        """Return plain values under Lightning's keys."""
        return {
            "best_model_score": self.best_model_score,
            "best_model_path": self.best_model_path,
            "current_score": self.current_score,
            "best_k_models": dict(self.top_k.scores),
            "kth_best_model_path": self.top_k.kth_path,
            "kth_value": self.top_k.kth_score,
            "last_model_path": self.last_model_path,
        }

    def restored(
        self, state: Mapping[str, Any], folder: str | None, has_remote: Callable[[str], bool] | None
    ) -> "KeptCheckpoints":
        """Return the saved books as far as the files still exist: where they were, or moved along with their folder.

        Args:
            state: what `state_dict` returned.
            folder: where checkpoints go now.
            has_remote: tells whether there's a checkpoint at a URL.
        """
        find = partial(found_again, old_folder=state.get("dirpath"), new_folder=folder, has_remote=has_remote)
        saved: Mapping[str, Tensor] = state.get("best_k_models", {})
        places = {path: find(path) for path in saved}
        gone = sorted(path for path, place in places.items() if place is None)
        if gone:
            rank_zero_warn(f"ModelCheckpoint forgets checkpoints that don't exist any more: {gone}.")
        top_k = replace(self.top_k, scores={place: saved[path] for path, place in places.items() if place})
        return replace(
            self,
            top_k=top_k,
            best_model_path=find(state.get("best_model_path", "")) or top_k.best_path,
            last_model_path=find(state.get("last_model_path", "")) or "",
            current_score=state.get("current_score"),
        )
