"""The contract of a precision: in which number formats a module computes and is stored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class PrecisionDtypes:
    """The number formats of a precision (``None``: leave as it is), and what else strategies must know of them."""

    param: torch.dtype | None = None
    compute: torch.dtype | None = None
    reduce: torch.dtype | None = None
    buffer: torch.dtype | None = None
    is_shardable: bool = True
    """Whether weights may be cut into shards: plain floating-point tensors, which quantised ones aren't."""
    is_trainable: bool = True
    """Whether a converted module can be trained at all; fitting is refused before launching where it can't."""
    scales_loss: bool = False
    """Whether losses are scaled, so that a step whose gradients overflow is skipped.

    A strategy whose ranks each see the gradients of other layers can't take it: they'd disagree on skipping."""


class Precision(ABC):
    """Number formats of a module's weights, inputs and arithmetic, with loss scaling where they need it.

    Found by name in the entry-point group ``lt.precisions`` (a factory called with the precision's name and the
    device). Every process has its own. Order of calls in a run: `module_init_context` around ``configure_model``;
    `convert_module` once; then for each batch `convert_input`, the step inside `forward_context`, `backward`, and at
    a window's end `optimizer_step`. `state_dict` is stored in checkpoints under `checkpoint_key`.
    """

    @property
    @abstractmethod
    def precision(self) -> str:
        """The canonical name, e.g. ``"32-true"``."""

    @abstractmethod
    def dtypes(self) -> PrecisionDtypes:
        """Return the formats that a sharding engine must apply itself; strategies also ask before launching."""

    @abstractmethod
    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module in the format its weights are kept in; called once, before it's moved and wrapped."""

    @abstractmethod
    def convert_input(self, data: Any) -> Any:
        """Return a batch (any nested collection) in the format the module takes; called for every batch."""

    @abstractmethod
    def convert_output(self, data: Any) -> Any:
        """Return a module's output in the default format; Fabric calls it after forward."""

    @abstractmethod
    def forward_context(self) -> AbstractContextManager[Any]:
        """Return the context in which a step or forward runs. It's restored also when the step raises."""

    @abstractmethod
    def module_init_context(self) -> AbstractContextManager[Any]:
        """Return the context in which a module is created, so that its weights have the right format at once."""

    @abstractmethod
    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """Return the context in which tensors are created."""

    @abstractmethod
    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Call ``run_backward(loss, *args, **kwargs)``, with the loss scaled where this precision scales it."""

    @abstractmethod
    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Divide the optimizer's gradients by the loss scale, once per step; a no-op without scaling."""

    @abstractmethod
    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        """Take one step: gradients, then `before_step`, then the update.

        Args:
            optimizer: whose parameters are updated.
            closure: makes the gradients (forward and backward) and returns the loss; in manual optimization it's a
                no-op when the user gave none. Called exactly once, except by optimizers that call it again (LBFGS).
            before_step: called with the optimizer when its gradients are final and unscaled, before the update: there
                hooks hear of them and clipping happens.
            kwargs: passed to ``optimizer.step``.

        Returns:
            What the closure (or the optimizer's own ``step``) returned.
        """

    @property
    def step_was_skipped(self) -> bool:
        """Whether the last `optimizer_step` left the weights as they were, since gradients weren't finite."""
        return False

    @property
    @abstractmethod
    def checkpoint_key(self) -> str | None:
        """The key of its state in a checkpoint (Lightning's class name), or ``None`` when there's nothing to store."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what resume needs, e.g. the loss scale; plain values and tensors only."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
