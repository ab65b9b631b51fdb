"""Full precision: weights, inputs and arithmetic stay as the user made them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_interfaces import Precision, PrecisionDtypes
from lt_interfaces.closures import update_after_gradients

# One for all: it holds no state, and making a new one for every batch would cost.
_NO_CONTEXT: AbstractContextManager[None] = nullcontext()


class FullPrecision(Precision):
    """The default precision ``"32-true"``: nothing is converted or scaled.

    Args:
        precision: the name it was asked for by; only ``"32-true"``.
        device: not needed here; every precision is made with a name and a device.

    >>> FullPrecision().precision
    '32-true'
    """

    def __init__(self, precision: str = "32-true", device: torch.device | None = None) -> None:
        if precision != "32-true":
            message = f"`precision` must be '32-true' for FullPrecision, not {precision!r}."
            raise ValueError(message)

    @property
    def precision(self) -> str:
        return "32-true"

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes()

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module

    def convert_input(self, data: Any) -> Any:
        return data

    def convert_output(self, data: Any) -> Any:
        return data

    def forward_context(self) -> AbstractContextManager[Any]:
        return _NO_CONTEXT

    def module_init_context(self) -> AbstractContextManager[Any]:
        return _NO_CONTEXT

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return _NO_CONTEXT

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        run_backward(loss, *args, **kwargs)

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Do nothing: gradients were never scaled."""

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        # Gradients come first and the step after, as with a loss scaler.
        loss = closure()
        before_step(optimizer)
        return update_after_gradients(optimizer, loss, closure=closure, before_step=before_step, **kwargs)

    @property
    def checkpoint_key(self) -> str | None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there's no state."""
