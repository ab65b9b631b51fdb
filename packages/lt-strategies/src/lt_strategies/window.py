"""The accumulation window of DistributedDataParallel: only its last backward synchronises gradients."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lt_interfaces import AccumulationWindow
from lt_interfaces.loss_weights import LossWeights, Number, positive
from lt_strategies import collectives


class DDPWindow(AccumulationWindow):
    """Accumulates on each rank; the wrappers average over ranks in the backward of the last micro-batch.

    With weights, what the average is taken over is the sum of the weights of all ranks: one scalar collective at the
    window's end. What weights are relative to is settled once, with the first weight that comes, as it must be the same
    on every rank.

    Args:
        wrappers: called for the wrapped modules.
        world_size: number of ranks.
        device: where collectives take place.
    """

    def __init__(
        self, wrappers: Callable[[], Iterable[DistributedDataParallel]], *, world_size: int, device: torch.device
    ) -> None:
        self.held = 0
        self._wrappers = wrappers
        self._world_size = world_size
        self._device = device
        self._weights = LossWeights()
        self._reference: Tensor | None = None
        self._is_synchronised = False

    def reopen(self, length: int) -> None:
        """Forget the last window and plan one of ``length`` micro-batches."""
        self.held = 0
        self._is_synchronised = False
        self._weights.reopen(length)

    def begin(self, *, is_last: bool) -> None:
        self._is_synchronised = is_last
        for wrapper in self._wrappers():
            if wrapper.require_backward_grad_sync is not is_last:  # setting an attribute of a module takes long
                wrapper.require_backward_grad_sync = is_last

    def add(self, loss: Tensor, weight: Number | None = None) -> Tensor:
        self.held += 1
        if weight is None:
            return self._weights.scaled(loss)
        weight = torch.as_tensor(weight, dtype=torch.float32, device=self._device).detach()
        if self._reference is None:
            self._reference = torch.as_tensor(positive(collectives.reduce(weight, op="max")))
        return self._weights.scaled(loss, weight, reference=self._reference)

    def close(self) -> None:
        if self.held and not self._is_synchronised:
            self._synchronise()
        total = self._weights.total
        if self._weights.reference is None or not isinstance(total, Tensor):
            factor = self._weights.factor()
        else:
            # Gradients are averaged over ranks, so the sum of weights is one over ranks, too.
            factor = self._weights.factor(collectives.reduce(total, op="sum") / self._world_size)
        if factor is not None:
            self._rescale(factor)

    def state_dict(self) -> dict[str, Any]:
        return self._weights.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = state["held"]
        self._weights.load_state_dict(state)

    def _synchronise(self) -> None:
        """Average gradients over ranks: the window ended before the micro-batch that was to be its last."""
        for wrapper in self._wrappers():
            trained = [parameter for parameter in wrapper.parameters() if parameter.requires_grad]
            has_gradient = torch.tensor([float(one.grad is not None) for one in trained], device=self._device)
            anywhere = collectives.reduce(has_gradient, op="max").tolist()
            for parameter, is_reached in zip(trained, anywhere, strict=True):
                if is_reached:
                    own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    parameter.grad = collectives.reduce(own, op="mean")

    @torch.no_grad()
    def _rescale(self, factor: Number) -> None:
        for wrapper in self._wrappers():
            for parameter in wrapper.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
