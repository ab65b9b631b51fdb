"""Optimizers, schedulers and the accumulation window of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_interfaces.accumulation import AccumulationWindow
from lt_interfaces.scheduling import LRSchedulerConfig
from lt_interfaces.strategy import Strategy


class Optimization:
    """What turns gradients into new weights; made when fitting starts."""

    def __init__(
        self,
        strategy: Strategy,
        *,
        optimizers: Sequence[Optimizer] = (),
        schedulers: Sequence[LRSchedulerConfig] = (),
        accumulation: int = 1,
    ) -> None:
        self.optimizers = list(optimizers)
        self.proxies: list[Any] = []
        """What the user's module sees of each optimizer: `LightningOptimizer`."""
        self.schedulers = list(schedulers)
        self.accumulation = accumulation
        """Micro-batches per optimizer step, for the windows opened from now on."""
        self.window: AccumulationWindow | None = None
        """The open window; ``None`` between optimizer steps."""
        self.left = 0
        """Micro-batches that the open window still takes."""
        self.gradient_norm: Tensor | None = None
        """Global norm of the last step's gradients before clipping; ``None`` where it wasn't measured."""
        self.is_norm_known = False
        """Whether `gradient_norm` is that of the step being taken."""
        self._planned = 0
        self._strategy = strategy

    def open_window(self, most: int | float) -> None:
        """Open a window that holds at most this many micro-batches (those left in the epoch)."""
        self.left = self._planned = 1 if most == 1 else int(min(self.accumulation, most))
        self.window = self._strategy.open_window(self.left)

    def reopen_window(self) -> AccumulationWindow:
        """Begin the window again, for an optimizer that evaluates its closure several times."""
        self.window = self._strategy.open_window(1)
        return self.window

    def note_norm(self, norm: Tensor | None) -> None:
        """Keep the norm of the step being taken; ``None``: it wasn't measured."""
        self.gradient_norm = norm
        self.is_norm_known = norm is not None

    def window_state(self, model: nn.Module, *, keeps_gradients: bool) -> dict[str, Any]:
        """Return the open window and the gradients that a resumed run can't make again.

        Args:
            model: what they're the gradients of.
            keeps_gradients: whether they outlive a window, since the module steps or clears them by itself. It may be
                accumulating then, so all that are there are kept; ``zero_grad()`` after the step leaves none and keeps
                files small.
        """
        window, keeps = self.window, self.window is not None or keeps_gradients
        named = model.named_parameters() if keeps else ()
        return {
            "left": self.left,
            "planned": self._planned,
            "window": window.state_dict() if window is not None else None,
            "gradients": {name: _own_part(parameter.grad) for name, parameter in named if parameter.grad is not None},
        }

    def load_window_state(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Take back what `window_state` returned."""
        if state["window"] is not None:
            self.left, self._planned = state["left"], state["planned"]
            self.window = self._strategy.open_window(self._planned)
            self.window.load_state_dict(state["window"])
        parameters = dict(model.named_parameters())
        for name, gradient in state["gradients"].items():
            parameters[name].grad = _gradient_of(parameters[name], gradient, name)

    def scheduler_states(self) -> list[dict[str, Any]]:
        """Return the state of every scheduler."""
        return [config.scheduler.state_dict() for config in self.schedulers]

    def load_scheduler_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take back what `scheduler_states` returned.

        Raises:
            ValueError: when the numbers of schedulers differ.
        """
        if len(states) != len(self.schedulers):
            message = (
                f"The checkpoint holds the states of {len(states)} learning-rate schedulers, but `configure_optimizers`"
                f" returned {len(self.schedulers)}. Return the same schedulers to resume."
            )
            raise ValueError(message)
        for config, state in zip(self.schedulers, states, strict=True):
            config.scheduler.load_state_dict(state)


def _own_part(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor; of one that isn't sharded, all of it."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def _gradient_of(parameter: nn.Parameter, part: Tensor, name: str) -> Tensor:
    """Return a gradient like its parameter, made of what this rank had saved of it.

    Raises:
        RuntimeError: it was saved of a parameter that was sharded in another way.
    """
    gradient = torch.empty_like(parameter, requires_grad=False)
    own = _own_part(gradient)
    if own.shape != part.shape:
        message = (
            f"The checkpoint holds a gradient of `{name}` with {tuple(part.shape)} elements on this rank, which has"
            f" {tuple(own.shape)} of them: gradients that a module accumulates by itself are taken up only where they"
            " were averaged over ranks before. Save after the optimizer's step, or clear gradients with it."
        )
        raise RuntimeError(message)
    own.copy_(part)
    return gradient
