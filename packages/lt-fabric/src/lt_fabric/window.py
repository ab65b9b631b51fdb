"""The accumulation window of one device: gradients of several micro-batches become that of the whole batch."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lt_interfaces import AccumulationWindow
from lt_interfaces.loss_weights import LossWeights, Number


class SingleDeviceWindow(AccumulationWindow):
    """Accumulates on one device, without any synchronisation; how losses are scaled, `LossWeights` says.

    Args:
        parameters: called at a close that has to rescale, for the parameters whose gradients were accumulated.
    """

    def __init__(self, parameters: Callable[[], Iterable[Tensor]]) -> None:
        self.held = 0
        self._parameters = parameters
        self._weights = LossWeights()

    def reopen(self, length: int) -> None:
        """Forget the last window and plan one of ``length`` micro-batches."""
        self.held = 0
        self._weights.reopen(length)

    def begin(self, *, is_last: bool) -> None:
        """Do nothing: one device has nobody to synchronise with."""

    def add(self, loss: Tensor, weight: Number | None = None) -> Tensor:
        self.held += 1
        return self._weights.scaled(loss, weight)

    def close(self) -> None:
        factor = self._weights.factor()
        if factor is not None:
            self._rescale(factor)

    def state_dict(self) -> dict[str, Any]:
        return self._weights.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = state["held"]
        self._weights.load_state_dict(state)

    @torch.no_grad()
    def _rescale(self, factor: Number) -> None:
        for parameter in self._parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


class UnitWindow(AccumulationWindow):
    """The window of one micro-batch: its gradient is that of the whole window, whatever its weight that isn't zero."""

    def __init__(self) -> None:
        self.held = 0

    def begin(self, *, is_last: bool) -> None:
        """Do nothing: one device has nobody to synchronise with."""

    def add(self, loss: Tensor, weight: Number | None = None) -> Tensor:
        self.held += 1
        if weight is None or (not isinstance(weight, Tensor) and weight > 0):
            return loss
        return loss * (weight > 0)

    def state_dict(self) -> dict[str, Any]:
        return {"held": self.held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = state["held"]

    def close(self) -> None:
        """Do nothing: there's nothing to rescale."""
