"""The accumulation window of one device: gradients of several micro-batches become that of the whole batch."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lt_interfaces import AccumulationWindow

Number = float | Tensor


class SingleDeviceWindow(AccumulationWindow):
    """Accumulates on one device, without any synchronisation.

    Losses are divided by the planned length while they come in; if the window ends early, `close` rescales the
    gradients to what it really held. With weights, losses are scaled by their weight relative to the window's first
    (so that nothing overflows in half precision), and `close` divides by the sum of the weights. Weights that are
    tensors stay on their device.

    Args:
        parameters: called at a close that has to rescale, for the parameters whose gradients were accumulated.
    """

    def __init__(self, parameters: Callable[[], Iterable[Tensor]]) -> None:
        self.held = 0
        self._parameters = parameters
        self._planned = 1
        self._reference: Number | None = None
        self._weight: Number = 0.0

    def reopen(self, length: int) -> None:
        """Forget the last window and plan one of ``length`` micro-batches."""
        self.held = 0
        self._planned = length
        self._reference = None
        self._weight = 0.0

    def begin(self, *, is_last: bool) -> None:
        """Do nothing: one device has nobody to synchronise with."""

    def add(self, loss: Tensor, weight: Number | None = None) -> Tensor:
        self.held += 1
        if weight is not None:
            return self._add_weighted(loss, weight)
        if self._reference is not None:
            self._refuse_mixing()
        return loss if self._planned == 1 else loss / self._planned

    def close(self) -> None:
        if self.held == 0:
            return
        if self._reference is not None:
            self._rescale(_ratio(self._reference, self._weight))
        elif self.held != self._planned:
            self._rescale(self._planned / self.held)

    def state_dict(self) -> dict[str, Any]:
        return {
            "held": self.held,
            "planned": self._planned,
            "reference": _detached(self._reference),
            "weight": _detached(self._weight),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = state["held"]
        self._planned = state["planned"]
        self._reference = state["reference"]
        self._weight = state["weight"]

    def _add_weighted(self, loss: Tensor, weight: Number) -> Tensor:
        if isinstance(weight, Tensor):
            weight = weight.detach()
        if self.held == 1:
            self._reference = _positive(weight)
        elif self._reference is None:
            self._refuse_mixing()
        assert self._reference is not None  # set by the window's first micro-batch
        self._weight = self._weight + weight
        return loss * (weight / self._reference)

    def _refuse_mixing(self) -> None:
        given = "a" if self._reference is None else "no"
        message = (
            f"Micro-batch {self.held} of this accumulation window has {given} weight, unlike those before it. "
            "Give one for every micro-batch of a window, or for none."
        )
        raise ValueError(message)

    @torch.no_grad()
    def _rescale(self, factor: Number) -> None:
        for parameter in self._parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


class UnitWindow(AccumulationWindow):
    """The window of one micro-batch: its gradient is that of the whole window, whatever its weight."""

    def __init__(self) -> None:
        self.held = 0

    def begin(self, *, is_last: bool) -> None:
        """Do nothing: one device has nobody to synchronise with."""

    def add(self, loss: Tensor, weight: Number | None = None) -> Tensor:
        self.held += 1
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"held": self.held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = state["held"]

    def close(self) -> None:
        """Do nothing: there's nothing to rescale."""


def _detached(number: Number | None) -> Number | None:
    return number.detach() if isinstance(number, Tensor) else number


def _positive(weight: Number) -> Number:
    """Return the weight, or 1 where it's zero, as something to divide by; a tensor is never read by the host."""
    if isinstance(weight, Tensor):
        return torch.where(weight > 0, weight, torch.ones_like(weight))
    return weight if weight > 0 else 1.0


def _ratio(reference: Number, total: Number) -> Number:
    """Return ``reference / total``; 1 where the total is zero, since the gradients are zero then too."""
    if isinstance(total, Tensor):
        return torch.where(total > 0, reference / total, 1.0)
    return reference / total if total > 0 else 1.0
