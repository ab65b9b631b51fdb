"""The modules that a sharded strategy trains: their optimizers, windows, steps and state, however they were sharded."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer

from lt_fsdp.gradients import ShardedGradientSync, unsynchronised
from lt_fsdp.replaced import ReplacedParameters, parameters_by_name
from lt_fsdp.shards import (
    load_module,
    load_optimizer,
    module_placement,
    optimizer_placement,
    whole_on_rank_zero,
)
from lt_interfaces import MisconfigurationException, Placement
from lt_interfaces.redirection import StepRedirection
from lt_strategies.window import RanksWindow

StateDictType = Literal["full", "sharded"]


class ShardedTraining:
    """Keeps the modules of a run, once they're sharded, and what belongs to them.

    Args:
        state_dict_type: whether the state that's saved is whole on rank 0, or has every rank's shards.
    """

    def __init__(self, state_dict_type: StateDictType) -> None:
        if state_dict_type not in ("full", "sharded"):
            message = f"`state_dict_type={state_dict_type!r}` must be 'full' or 'sharded'."
            raise ValueError(message)
        self.is_sharded_state: Final = state_dict_type == "sharded"
        self._modules: Final[list[nn.Module]] = []
        self._replaced = ReplacedParameters()
        self._window: RanksWindow | None = None

    @property
    def default_checkpoint_io(self) -> str:
        """The name of the checkpoint IO that writes this state."""
        return "distributed" if self.is_sharded_state else "torch"

    def clear(self) -> None:
        """Forget the modules."""
        self._modules.clear()
        self._replaced = ReplacedParameters()
        self._window = None

    def take(
        self,
        module: nn.Module,
        shard: Callable[[nn.Module], None],
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
    ) -> list[Optimizer]:
        """Shard a module in place and return its optimizers, which step the shards.

        Args:
            module: whole, or sharded by an earlier run or its owner.
            shard: does it, where there's something left to do.
            make_optimizers: called once it's sharded; ones made before will do as well.
        """
        before = parameters_by_name(module)
        shard(module)
        self._modules.append(module)
        if make_optimizers is not None:
            _refuse_inner_backward(module)
        self._replaced.note(before, module)
        del before  # whole weights, which nobody needs any more
        return [] if make_optimizers is None else self.take_optimizers(make_optimizers())

    def take_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        """Let optimizers step the shards of the modules."""
        self._replaced.put_into(optimizers, self._parameters())
        return list(optimizers)

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        """Return what runs a step: through the module's own forward where that gathers weights."""
        step: Callable[..., Any] = getattr(module, name)
        return StepRedirection(module, module, name=name) if isinstance(module, FSDPModule) else step

    def open_window(self, length: int, *, device: torch.device, group: Any = None) -> RanksWindow:
        """Open the accumulation window of the next optimizer step."""
        if self._window is None:
            self._window = RanksWindow(ShardedGradientSync(self._trained), device=device, group=group)
        self._window.reopen(length)
        return self._window

    def no_backward_sync(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        """Return a context in which backward leaves gradients on each rank."""
        return unsynchronised(module) if enabled else nullcontext()

    # --- state ---

    def module_state(self, module: nn.Module, *, is_rank_zero: bool) -> dict[str, Any]:
        """Return a module's state, sharded or whole on rank 0. Collective."""
        return self._given(module.state_dict(), is_rank_zero=is_rank_zero)

    def optimizer_state(self, optimizer: Optimizer, *, is_rank_zero: bool) -> dict[str, Any]:
        """Return an optimizer's state by number, sharded or whole on rank 0. Collective."""
        return self._given(optimizer.state_dict(), is_rank_zero=is_rank_zero)

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool) -> Any:
        """Load a state of any form."""
        return load_module(module, state, strict=strict)

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Load a state of any form."""
        load_optimizer(module, optimizer, state)

    def placement(self, target: nn.Module | Optimizer) -> Placement:
        """Return where the tensors of a state are to be read to."""
        return optimizer_placement(target) if isinstance(target, Optimizer) else module_placement(target)

    def _given(self, state: dict[str, Any], *, is_rank_zero: bool) -> dict[str, Any]:
        if self.is_sharded_state:
            return state
        whole: dict[str, Any] = whole_on_rank_zero(state, is_rank_zero=is_rank_zero)
        return whole

    def _trained(self) -> Iterable[nn.Module]:
        return iter(self._modules)

    def _parameters(self) -> Iterator[nn.Parameter]:
        for module in self._modules:
            yield from module.parameters()


def _refuse_inner_backward(module: nn.Module) -> None:
    """Refuse a backward within the very forward that weights are gathered for."""
    if isinstance(module, FSDPModule) and not getattr(module, "automatic_optimization", True):
        own = ", ".join(f"`{name}`" for name, _ in module.named_parameters(recurse=False))
        message = (
            f"{type(module).__name__} has parameters of its own ({own}) and manual optimization: its `training_step`"
            " would differentiate while these are gathered for it. Move them into a submodule that the step calls."
        )
        raise MisconfigurationException(message)
