"""The modules that a pipeline trains: as those that are sharded, but for their state."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import nn
from torch.optim import Optimizer

from lt_fsdp import pipelined_state
from lt_fsdp.training import ShardedTraining
from lt_interfaces import Placement
from lt_strategies.window import RanksWindow


class PipelinedTraining:
    """Keeps the modules of a run, of which each rank has a stage; its state is whole on rank 0."""

    def __init__(self) -> None:
        self.default_checkpoint_io: Final = "torch"
        self._inner: Final = ShardedTraining("full")

    def clear(self) -> None:
        """Forget the modules."""
        self._inner.clear()

    def take(
        self,
        module: nn.Module,
        lay_out: Callable[[nn.Module], None],
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
    ) -> list[Optimizer]:
        """Lay a module out in place and return its optimizers, which step this rank's stage."""
        return self._inner.take(module, lay_out, make_optimizers)

    def take_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        """Let optimizers step this rank's stage."""
        return self._inner.take_optimizers(optimizers)

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        """Return what runs a step: on all ranks, as the pipeline runs when it's called within."""
        return self._inner.bind_step(module, name)

    def open_window(self, length: int, *, device: torch.device, group: Any = None) -> RanksWindow:
        """Open the accumulation window of the next optimizer step."""
        return self._inner.open_window(length, device=device, group=group)

    def no_backward_sync(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        """Return a context that changes nothing: no gradient is another rank's."""
        return nullcontext()

    def module_state(self, module: nn.Module, *, is_rank_zero: bool) -> dict[str, Any]:
        """Return a module's state, whole on rank 0. Collective."""
        return pipelined_state.module_state(module, is_rank_zero=is_rank_zero)

    def optimizer_state(self, optimizer: Optimizer, *, is_rank_zero: bool) -> dict[str, Any]:
        """Return an optimizer's state by number, whole on rank 0. Collective."""
        return pipelined_state.optimizer_state(optimizer, is_rank_zero=is_rank_zero)

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool) -> Any:
        """Load a whole state."""
        return pipelined_state.load_module_state(module, state, strict=strict)

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Load a whole state."""
        pipelined_state.load_optimizer_state(module, optimizer, state)

    def placement(self, target: nn.Module | Optimizer) -> Placement:
        """Return that tensors are to be read whole."""
        return lambda place, like: None
