"""The accumulation window of several ranks: only its last backward synchronises gradients."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lt_interfaces import AccumulationWindow
from lt_interfaces.loss_weights import LossWeights, Number, positive
from lt_strategies import collectives


class GradientSync(Protocol):
    """How the gradients of trained modules come to be those of all ranks; what differs between engines of a window."""

    def switch(self, *, is_on: bool) -> None:
        """Let the coming backwards average gradients over ranks, or leave them on each."""

    def catch_up(self) -> None:
        """Average what earlier backwards have left on each rank. Collective."""

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters whose gradients are averaged."""


class RanksWindow(AccumulationWindow):
    """Accumulates on each rank; the backward of the last micro-batch averages over ranks.

    With weights, what the average is taken over is the sum of the weights of all ranks: one scalar collective at the
    window's end. What weights are relative to is settled once, with the first weight that comes, as it must be the same
    on every rank.

    Args:
        sync: of the trained modules.
        device: where collectives take place.
        group: the ranks that train on different samples; ``None``: all.
    """

    def __init__(self, sync: GradientSync, *, device: torch.device, group: Any = None) -> None:
        self.held = 0
        self._sync = sync
        self._device = device
        self._group = group
        self._weights = LossWeights()
        self._reference: Tensor | None = None
        self._is_plain = False
        """Whether it's of one micro-batch without a weight so far: those gradients are right as they are."""
        self._is_on: bool | None = None
        """Whether backwards synchronise; ``None``: the loop sees to that by itself, it never told a window to begin."""

    def reopen(self, length: int) -> None:
        """Forget the last window and plan one of ``length`` micro-batches."""
        self.held = 0
        self._is_plain = length == 1
        if not self._is_plain:
            self._weights.reopen(length)

    def begin(self, *, is_last: bool) -> None:
        if is_last is not self._is_on:
            self._is_on = is_last
            self._sync.switch(is_on=is_last)

    def add(self, loss: Tensor, weight: Number | None = None) -> Tensor:
        self.held += 1
        if weight is None:
            return loss if self._is_plain else self._weights.scaled(loss)
        if self._is_plain:
            self._is_plain = False
            self._weights.reopen(1)
        weight = torch.as_tensor(weight, dtype=torch.float32, device=self._device).detach()
        if self._reference is None:
            self._reference = torch.as_tensor(positive(collectives.reduce(weight, op="max", group=self._group)))
        return self._weights.scaled(loss, weight, reference=self._reference)

    def close(self) -> None:
        if self.held and self._is_on is False:
            self._sync.catch_up()  # the window ended before the micro-batch that was to be its last
        if self._is_plain:
            return
        total = self._weights.total
        if self._weights.reference is None or not isinstance(total, Tensor):
            factor = self._weights.factor()
        else:
            # Gradients are averaged over ranks, so the sum of weights is one over ranks, too.
            factor = self._weights.factor(collectives.reduce(total, op="mean", group=self._group))
        if factor is not None:
            self._rescale(factor)

    def state_dict(self) -> dict[str, Any]:
        if self._is_plain:
            self._weights.reopen(1)
            self._weights.held = self.held
        return self._weights.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._is_plain = False
        self.held = state["held"]
        self._weights.load_state_dict(state)

    @torch.no_grad()
    def _rescale(self, factor: Number) -> None:
        for parameter in self._sync.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


class DDPGradientSync:
    """Lets torch's `DistributedDataParallel` average gradients, or not.

    Args:
        wrappers: called for the wrapped modules.
        device: where collectives take place.
    """

    def __init__(self, wrappers: Callable[[], Iterable[DistributedDataParallel]], device: torch.device) -> None:
        self._wrappers = wrappers
        self._device = device

    def switch(self, *, is_on: bool) -> None:
        for wrapper in self._wrappers():
            if wrapper.require_backward_grad_sync is not is_on:  # setting an attribute of a module takes long
                wrapper.require_backward_grad_sync = is_on

    def catch_up(self) -> None:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        has_gradient = torch.tensor([float(one.grad is not None) for one in trained], device=self._device)
        anywhere = collectives.reduce(has_gradient, op="max").tolist()
        for parameter, is_reached in zip(trained, anywhere, strict=True):
            if is_reached:
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = collectives.reduce(own, op="mean")

    def parameters(self) -> Iterable[Tensor]:
        for wrapper in self._wrappers():
            yield from wrapper.parameters()
