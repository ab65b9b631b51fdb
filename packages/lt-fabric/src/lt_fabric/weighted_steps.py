"""Losses with weights in a loop of one's own: what's differentiated between two optimizer steps is one mean."""

from typing import Any, Final

from torch import Tensor

from lt_interfaces import AccumulationWindow, Capability, MisconfigurationException, Strategy
from lt_interfaces.loss_weights import checked_weight

_UNKNOWN: Final = 2
"""Micro-batches that a window is opened for: how many come isn't known, and with weights nothing depends on it."""


class WeightedSteps:
    """Scales the losses of one optimizer step after the other by their weights.

    Only losses with a weight open a window; `close` makes the gradients those of the weighted mean over all its
    micro-batches and all ranks. The loop synchronises gradients by itself, so windows are never told to begin.

    Args:
        strategy: whose windows.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy: Final = strategy
        self._window: AccumulationWindow | None = None
        self._has_plain = False

    def add(self, loss: Tensor, weight: float | Tensor | None) -> Tensor:
        """Return the loss to differentiate.

        Raises:
            MisconfigurationException: the strategy can't weight losses.
            ValueError: some losses of a step have a weight and others don't, or a weight is negative.
        """
        if weight is None and self._window is None:
            self._has_plain = True
            return loss
        if self._has_plain:
            message = (
                f"`fabric.backward(loss, weight={weight})` comes after a backward without a weight for the same"
                " optimizer step. Give one to every loss of a step, or to none."
            )
            raise ValueError(message)
        return self._opened().add(loss, None if weight is None else checked_weight(weight, "`weight`"))

    def close(self, _: Any = None) -> None:
        """Make the gradients so far those of the weighted mean; the next loss begins anew.

        With several ranks and weights it's collective.
        """
        window, self._window = self._window, None
        self._has_plain = False
        if window is not None:
            window.close()

    def _opened(self) -> AccumulationWindow:
        if self._window is None:
            if not self._strategy.supports(Capability.WEIGHTED_LOSSES):
                message = (
                    f"`fabric.backward(loss, weight=...)`: {type(self._strategy).__name__} can't weight losses. Leave"
                    " `weight` out, or use `strategy='fsdp'` or 'ddp'."
                )
                raise MisconfigurationException(message)
            self._window = self._strategy.open_window(_UNKNOWN)
        return self._window
