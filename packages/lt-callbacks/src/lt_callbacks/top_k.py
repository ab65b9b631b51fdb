"""The books of the k best checkpoints."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.spelling import did_you_mean

KEEP_ALL: Final = -1
_MODES: Final = ("min", "max")


def check_mode(mode: str) -> None:
    """Refuse any ``mode`` but "min" and "max".

    Raises:
        MisconfigurationException: naming what's accepted.
    """
    if mode not in _MODES:
        message = f"`mode` must be 'min' or 'max', not {mode!r}.{did_you_mean(str(mode), _MODES)}"
        raise MisconfigurationException(message)


def is_better(score: Tensor, than: Tensor, mode: str) -> bool:
    """Whether a score beats another; a tie doesn't.

    >>> is_better(torch.tensor(1.0), torch.tensor(2.0), "min")
    True
    """
    return bool(score < than if mode == "min" else score > than)


def worst(mode: str) -> Tensor:
    """Return the score that any other beats."""
    return torch.tensor(math.inf if mode == "min" else -math.inf)


@dataclass(frozen=True)
class TopK:
    """The paths and scores of the k best checkpoints; every change makes new books, so that a failed save undoes it.

    >>> books = TopK(k=1).with_saved("a.ckpt", torch.tensor(2.0)).with_saved("b.ckpt", torch.tensor(1.0))
    >>> books.best_path, list(books.scores)
    ('b.ckpt', ['b.ckpt'])
    """

    k: int = 1
    """How many to keep; -1: all."""
    mode: str = "min"
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    """The score of each kept checkpoint by path, in the order they were saved."""

    def ranked(self) -> list[str]:
        """Return the kept paths, the best first; of equal ones the older first."""
        return sorted(self.scores, key=lambda path: float(self.scores[path]), reverse=self.mode == "max")

    @property
    def best_path(self) -> str:
        """The path of the best one, empty if there's none."""
        return next(iter(self.ranked()), "")

    @property
    def kth_path(self) -> str:
        """The path of the worst one kept, the next to go; empty if there's none."""
        return next(reversed(self.ranked()), "")

    @property
    def kth_score(self) -> Tensor:
        """The score to beat."""
        return self.scores.get(self.kth_path, worst(self.mode))

    @property
    def is_full(self) -> bool:
        """Whether one more displaces one."""
        return self.k != KEEP_ALL and len(self.scores) >= self.k

    def would_keep(self, score: Tensor) -> bool:
        """Whether a checkpoint with this score belongs to the k best: there's room, or it beats the worst one kept."""
        if self.k == 0:
            return False
        return not self.is_full or is_better(comparable(score, self.mode), self.kth_score, self.mode)

    @property
    def next_displaced(self) -> str | None:
        """The path that the next kept checkpoint displaces."""
        return self.kth_path if self.is_full and self.scores else None

    def with_saved(self, path: str, score: Tensor) -> "TopK":
        """Return books that hold one more, without the one it displaces."""
        kept = {other: value for other, value in self.scores.items() if other not in (self.next_displaced, path)}
        return replace(self, scores={**kept, path: comparable(score, self.mode)})

    def as_yaml(self) -> str:
        """Return the kept paths with their scores as a YAML mapping, the best first.

        >>> print(TopK(scores={"a.ckpt": torch.tensor(0.5)}).as_yaml(), end="")
        "a.ckpt": 0.5
        """
        # A JSON string is a YAML string too; of the numbers only infinity is written differently.
        lines = [f"{json.dumps(path)}: {_yaml_number(float(self.scores[path]))}\n" for path in self.ranked()]
        return "".join(lines) or "{}\n"


def comparable(score: Tensor, mode: str) -> Tensor:
    """Return a score on the CPU that can be compared: NaN counts as the worst.

    >>> comparable(torch.tensor(float("nan")), "max")
    tensor(-inf)
    """
    score = score.detach().cpu().clone()
    return worst(mode) if bool(torch.isnan(score)) else score


def _yaml_number(value: float) -> str:
    return repr(value).replace("inf", ".inf")
