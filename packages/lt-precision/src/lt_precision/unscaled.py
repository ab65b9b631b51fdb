"""What precisions without a loss scaler have in common: plain gradients, plain steps, no state."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lt_interfaces import Precision
from lt_interfaces.closures import update_after_gradients
from lt_precision.casting import cast_floats


class UnscaledPrecision(Precision):
    """Base of precisions that neither scale losses nor keep state; formats are left to the subclass."""

    def convert_output(self, data: Any) -> Any:
        return cast_floats(data, torch.get_default_dtype())

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
