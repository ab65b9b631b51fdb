"""The accumulation window of DeepSpeed's engines: equal weights, and a last micro-batch that's known beforehand."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from lt_deepspeed.engines import EngineModule
from lt_interfaces import AccumulationWindow, MisconfigurationException


class EngineWindow(AccumulationWindow):
    """Accumulates within the engines, which share gradients out over ranks as their stage wants it.

    Args:
        modules: called for the modules that engines train.
    """

    def __init__(self, modules: Callable[[], Iterable[EngineModule]]) -> None:
        self.held = 0
        self.was_skipped = False
        """Whether the engine left out the last step, since gradients had overflowed in 16 bits."""
        self._modules = modules
        self._planned = 1
        self._has_last = False

    def reopen(self, length: int) -> None:
        """Forget the last window and plan one of ``length`` micro-batches."""
        self.held = 0
        self._planned = length
        self._has_last = False

    def begin(self, *, is_last: bool) -> None:
        self._has_last = is_last
        for module in self._modules():
            module.set_boundary(is_last)

    def add(self, loss: Tensor, weight: float | Tensor | None = None) -> Tensor:
        if weight is not None:
            message = (
                "`DeepSpeedStrategy` can't weight losses: its engine accumulates gradients out of the loop's reach. Let"
                " `training_step` return no weight (and leave `uneven_data` at 'stop'), or use `strategy='fsdp'` or"
                " 'ddp'."
            )
            raise MisconfigurationException(message)
        self.held += 1
        return loss if self._planned == 1 else loss / self._planned

    def close(self) -> None:
        if self.held == 0 or (self._has_last and self.held == self._planned):
            return
        message = (
            f"`DeepSpeedStrategy` planned {self._planned} micro-batches for this optimizer step, but {self.held} came:"
            " its engine can't divide by another number afterwards. Give the loader a length that's known, or use"
            " `accumulate_grad_batches=1`, `strategy='fsdp'` or 'ddp'."
        )
        raise MisconfigurationException(message)

    def state_dict(self) -> dict[str, Any]:
        return {"held": self.held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held = state["held"]
