"""Spikes of the training loss: what counts as one, and the error that ends a training for it."""

from collections import deque
from math import isfinite
from typing import Any, Final

_MODES: Final = ("min", "max")


class TrainingSpikeException(RuntimeError):
    """A training is ended for a spike of its loss.

    Attributes:
        batch_idx: the batch in which it was seen.

    >>> str(TrainingSpikeException(7))
    'The training loss spiked in batch 7.'
    """

    def __init__(self, batch_idx: int) -> None:
        super().__init__(batch_idx)
        self.batch_idx = batch_idx

    def __str__(self) -> str:
        return f"The training loss spiked in batch {self.batch_idx}."


class LossSpikes:
    """Tells a spike from the losses before it: worse than the last one, and far from the mean of the last ones.

    Args:
        mode: whether a loss is better when it's smaller, "min", or greater, "max".
        window: how many losses the mean is taken over.
        warmup: batches before which nothing is a spike.
        atol: how far from the mean a spike is at least; ``None``: any distance.
        rtol: the same, as a multiple of the mean; ``None``: any distance.
        finite_only: whether a loss that isn't finite is always a spike.

    Raises:
        ValueError: for another ``mode``, or a ``window`` below 1.

    >>> spikes = LossSpikes()
    >>> for batch_idx in range(3):
    ...     spikes.take(1.0)
    >>> spikes.is_spike(2.9, batch_idx=3), spikes.is_spike(3.1, batch_idx=3)
    (False, True)
    """

    def __init__(
        self,
        *,
        mode: str = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        finite_only: bool = True,
    ) -> None:
        if mode not in _MODES:
            message = f"`mode` must be 'min' or 'max', not {mode!r}."
            raise ValueError(message)
        if window < 1:
            message = f"`window` must be at least 1, not {window!r}."
            raise ValueError(message)
        self._mode: Final = mode
        self._warmup: Final = warmup
        self._distances: Final = (atol, rtol)
        self._finite_only: Final = finite_only
        self._last: float | None = None
        self._recent: deque[float] = deque(maxlen=window)

    def is_spike(self, loss: float, batch_idx: int) -> bool:
        """Say whether a loss is a spike after those that were taken."""
        if batch_idx < self._warmup:
            return False
        if self._finite_only and not isfinite(loss):
            return True
        return self._is_worse(loss) and self._is_far(loss)

    def take(self, loss: float) -> None:
        """Add a loss to those that later ones are compared with; the mean leaves out those that aren't finite."""
        self._last = loss
        if isfinite(loss):
            self._recent.append(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return what to save."""
        return {"last": self._last, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after what was saved."""
        self._last = state["last"]
        self._recent.clear()
        self._recent.extend(state["recent"])

    def _is_worse(self, loss: float) -> bool:
        if self._last is None:
            return False
        return loss > self._last if self._mode == "min" else loss < self._last

    def _is_far(self, loss: float) -> bool:
        if not self._recent:
            return False
        mean = sum(self._recent) / len(self._recent)
        atol, rtol = self._distances
        distance = abs(loss - mean)
        return (atol is None or distance >= abs(atol)) and (rtol is None or distance >= abs(rtol * mean))
