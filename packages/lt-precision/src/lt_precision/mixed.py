"""Mixed precision: weights in 32 bits, and arithmetic in 16 bits where torch's autocast finds it safe."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from lt_interfaces import Precision, PrecisionDtypes
from lt_interfaces.closures import update_after_gradients
from lt_interfaces.errors import MisconfigurationException
from lt_precision.casting import cast_floats
from lt_precision.loss_scaling import LossScaling, refuse_reevaluation

_DTYPES: Final = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
_NO_CONTEXT: Final[AbstractContextManager[None]] = nullcontext()


@final
class MixedPrecision(Precision):
    """Steps run under ``torch.autocast``; weights and optimizers stay in 32 bits, and inputs come in them.

    With ``"16-mixed"``, losses are scaled, so that small gradients don't vanish in float16
    (https://arxiv.org/abs/1710.03740); a step whose gradients overflow is skipped, and the scale is halved. So it's on
    every device, also on a CPU. The scale changes at once after an optimizer's closure made the gradients, else (in
    manual optimization and Fabric) with the next backward, so that it's one for all gradients of a round.

    Args:
        precision: ``"16-mixed"`` or ``"bf16-mixed"``.
        device: where it runs, or its type such as ``"cuda"``; a CUDA device, if there's one, unless given.
        scaler: of losses, for ``"16-mixed"``; torch's ``GradScaler`` unless given.

    Raises:
        MisconfigurationException: for a scaler with ``"bf16-mixed"``, whose range is that of 32 bits; and, in a step
            with a scaler, for optimizers such as LBFGS that evaluate their closure again.

    >>> precision = MixedPrecision("bf16-mixed", "cpu")
    >>> with precision.forward_context():
    ...     nn.Linear(2, 2)(torch.ones(1, 2)).dtype
    torch.bfloat16
    """

    def __init__(
        self, precision: str, device: torch.device | str | None = None, scaler: GradScaler | None = None
    ) -> None:
        if precision not in _DTYPES:
            message = f"`precision` must be one of {list(_DTYPES)} for MixedPrecision, not {precision!r}."
            raise ValueError(message)
        if scaler is not None and precision != "16-mixed":
            message = (
                f"`scaler` must be left out of MixedPrecision with `precision={precision!r}`, but got"
                f" {type(scaler).__name__}: bfloat16 has the range of float32, so its losses need no scaling. Leave"
                " `scaler` out, or use `precision='16-mixed'`."
            )
            raise MisconfigurationException(message)
        self._name: Final = precision
        self._dtype: Final = _DTYPES[precision]
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device_type: Final = torch.device(device).type
        is_scaled = precision == "16-mixed"
        self._scaling: Final = LossScaling(scaler or GradScaler(self._device_type)) if is_scaled else None

    @property
    def precision(self) -> str:
        return self._name

    @property
    def scaler(self) -> GradScaler | None:
        """The scaler of losses, with the scale of the next backward; ``None`` for ``"bf16-mixed"``."""
        if self._scaling is None:
            return None
        self._scaling.settle()
        return self._scaling.scaler

    def dtypes(self) -> PrecisionDtypes:
        """Return the formats; gradients are reduced in 32 bits, so that they don't depend on the strategy."""
        return PrecisionDtypes(compute=self._dtype, reduce=torch.float32, scales_loss=self._scaling is not None)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module as it is."""
        if self._scaling is not None:
            self._scaling.begin_anew()
        return module

    def convert_input(self, data: Any) -> Any:
        return cast_floats(data, torch.float32)

    def convert_output(self, data: Any) -> Any:
        return cast_floats(data, torch.get_default_dtype())

    def forward_context(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device_type, self._dtype)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return _NO_CONTEXT

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return _NO_CONTEXT

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        with self._outside_of_forward():
            if self._scaling is None:
                run_backward(loss, *args, **kwargs)
            else:
                self._scaling.backward(loss, run_backward, *args, **kwargs)

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        if self._scaling is not None:
            self._scaling.unscale(optimizer)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        is_within_forward = torch.is_autocast_enabled(self._device_type)
        update = self._update if self._scaling is None else self._update_scaled
        result = update(optimizer, closure, before_step, **kwargs)
        if is_within_forward:
            # In manual optimization the training step goes on: what's cached are casts of the weights before.
            torch.clear_autocast_cache()
        return result

    @property
    def step_was_skipped(self) -> bool:
        return self._scaling is not None and self._scaling.step_was_skipped

    @property
    def checkpoint_key(self) -> str | None:
        return None if self._scaling is None else "MixedPrecision"

    def state_dict(self) -> dict[str, Any]:
        return {} if self._scaling is None else self._scaling.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._scaling is not None and state:
            self._scaling.load_state_dict(state)

    def _update(
        self, optimizer: Optimizer, closure: Callable[[], Any], before_step: Callable[[Optimizer], None], **kwargs: Any
    ) -> Any:
        inside = self.forward_context if torch.is_autocast_enabled(self._device_type) else nullcontext

        def closure_in_context() -> Any:
            with inside():
                return closure()

        loss = closure()
        with self._outside_of_forward():
            before_step(optimizer)
            return update_after_gradients(
                optimizer, loss, closure=closure_in_context, before_step=before_step, **kwargs
            )

    def _update_scaled(
        self, optimizer: Optimizer, closure: Callable[[], Any], before_step: Callable[[Optimizer], None], **kwargs: Any
    ) -> Any:
        assert self._scaling is not None
        refuse_reevaluation(optimizer)
        num_backward = self._scaling.num_backward
        loss = closure()
        made_gradients = self._scaling.num_backward > num_backward
        with self._outside_of_forward():
            self._scaling.step(optimizer, before_step, **kwargs)
        if made_gradients:
            self._scaling.settle()
        return loss

    def _outside_of_forward(self) -> AbstractContextManager[Any]:
        """Return the context for backward and updates, which autocast isn't meant for."""
        if torch.is_autocast_enabled(self._device_type):
            return torch.autocast(self._device_type, enabled=False)
        return _NO_CONTEXT
