"""The contract of an accumulation window: the gradients of several micro-batches on their way to one step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class AccumulationWindow(ABC):
    """Makes the gradient of one optimizer step out of the micro-batches of a window.

    A strategy makes it (`Strategy.open_window`); the loop knows nothing about how gradients are scaled or
    synchronised. Order of calls: for every micro-batch `begin`, forward, `add`, backward; then `close` once, before
    gradients are unscaled, clipped and used. A window divides by what it really held, also when it ends early. A loop
    that synchronises by itself (`Strategy.no_backward_sync`) never calls `begin`.
    """

    held: int
    """Micro-batches added so far."""

    @abstractmethod
    def begin(self, *, is_last: bool) -> None:
        """Announce the next micro-batch, before its forward; only the last one synchronises gradients over ranks."""

    @abstractmethod
    def add(self, loss: Tensor, weight: float | Tensor | None = None) -> Tensor:
        """Record one micro-batch and return the loss to differentiate, scaled for this window.

        Args:
            loss: the mean loss of the micro-batch, shape ``()``.
            weight: tokens or samples that the mean was taken over; all micro-batches of a window give one, or none.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on within this window; the gradients so far are saved beside it.

        Asked only where the strategy supports `Capability.SAVING_IN_WINDOW`.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned; called on a window that was just opened."""

    @abstractmethod
    def close(self) -> None:
        """Make the accumulated gradients those of the whole window, over all ranks. Called after the last backward."""
