"""How the losses of an accumulation window are scaled, so that its gradients are those of the whole batch."""

from collections.abc import Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from lt_interfaces.errors import MisconfigurationException

Number = float | Tensor


class LossWeights:
    """Scales the losses of one window after the other, and says what its gradients are to be multiplied by.

    Without weights, losses are divided by the planned length while they come in; a window that ends early is corrected
    at its end. With weights, losses are scaled by their weight relative to a reference (so that nothing overflows in
    half precision), and the end divides by the sum of the weights. Weights that are tensors stay on their device.

    >>> weights = LossWeights()
    >>> weights.reopen(2)
    >>> weights.scaled(torch.tensor(3.0)), weights.factor()
    (tensor(1.5000), 2.0)
    """

    def __init__(self) -> None:
        self.held = 0
        """Micro-batches of this window so far."""
        self.planned = 1
        """Micro-batches that the window was opened for."""
        self.reference: Number | None = None
        """What weights are relative to; ``None`` while none came."""
        self.total: Number = 0.0
        """Sum of the weights."""

    def reopen(self, length: int) -> None:
        """Forget the last window and plan one of ``length`` micro-batches."""
        self.held = 0
        self.planned = length
        self.reference = None
        self.total = 0.0

    def scaled(self, loss: Tensor, weight: Number | None = None, *, reference: Number | None = None) -> Tensor:
        """Count a micro-batch and return its loss, scaled.

        Args:
            loss: its mean loss.
            weight: what that mean was taken over; all micro-batches of a window give one, or none.
            reference: what the window's weights are relative to; by default its first weight.

        Raises:
            ValueError: for a weight after micro-batches without one, or the other way round.
        """
        self.held += 1
        if weight is None:
            if self.reference is not None:
                self._refuse_mixing()
            return loss if self.planned == 1 else loss / self.planned
        if isinstance(weight, Tensor):
            weight = weight.detach()
        if self.held == 1:
            self.reference = positive(weight) if reference is None else reference
        elif self.reference is None:
            self._refuse_mixing()
        assert self.reference is not None  # set by the window's first micro-batch
        self.total = self.total + weight
        return loss * (weight / self.reference)

    def factor(self, total: Number | None = None) -> Number | None:
        """Return what the window's gradients are to be multiplied by; ``None``: they're right as they are.

        Args:
            total: the sum of weights to divide by, where it isn't this window's own.
        """
        if self.held == 0:
            return None
        if self.reference is not None:
            return _ratio(self.reference, self.total if total is None else total)
        return None if self.held == self.planned else self.planned / self.held

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on within this window."""
        return {
            "held": self.held,
            "planned": self.planned,
            "reference": _detached(self.reference),
            "weight": _detached(self.total),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.held = state["held"]
        self.planned = state["planned"]
        self.reference = state["reference"]
        self.total = state["weight"]

    def _refuse_mixing(self) -> None:
        given = "a" if self.reference is None else "no"
        message = (
            f"Micro-batch {self.held} of this accumulation window has {given} weight, unlike those before it. "
            "Give one for every micro-batch of a window, or for none."
        )
        raise ValueError(message)


def checked_weight(weight: Any, label: str) -> Number:
    """Return what a loss counts for, as a number or a 0-d tensor; a tensor stays on its device and isn't looked into.

    Args:
        weight: what the user gave.
        label: what to call it in a message.

    Raises:
        MisconfigurationException: for anything but a number >= 0, or a tensor with one element.
    """
    if isinstance(weight, Tensor) and weight.numel() == 1:
        return weight.detach().reshape(())
    if isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < inf:
        return weight
    found = f"a tensor of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else repr(weight)
    message = (
        f"{label} must be a number >= 0 or a tensor with one element (the tokens or samples that the loss is the mean"
        f" of), but got {found}."
    )
    raise MisconfigurationException(message)


def positive(weight: Number) -> Number:
    """Return the weight, or 1 where it's zero, as something to divide by; a tensor is never read by the host."""
    if isinstance(weight, Tensor):
        return torch.where(weight > 0, weight, torch.ones_like(weight))
    return weight if weight > 0 else 1.0


def _detached(number: Number | None) -> Number | None:
    return number.detach() if isinstance(number, Tensor) else number


def _ratio(reference: Number, total: Number) -> Number:
    """Return ``reference / total``; 1 where the total is zero, since the gradients are zero then too."""
    if isinstance(total, Tensor):
        return torch.where(total > 0, reference / total, 1.0)
    return reference / total if total > 0 else 1.0
