"""What happens to a module, an optimizer or a loader when Fabric sets it up."""

import os
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lt_fabric.compiled import recompile, unwrap_compiled
from lt_fabric.data import seed_workers, with_distributed_sampler, with_shared_iterable
from lt_fabric.data.fabric_loader import FabricDataLoader
from lt_fabric.data.shared_order import data_share
from lt_fabric.runtime import Runtime
from lt_fabric.wrappers import FabricModule, is_wrapped
from lt_interfaces import Strategy


def set_up_module(
    runtime: Runtime,
    module: nn.Module,
    *,
    optimizers: Sequence[Optimizer],
    move_to_device: bool,
    reapply_compile: bool,
) -> tuple[FabricModule, list[Optimizer]]:
    """Convert, place and wrap a module with the optimizers of its parameters, which come back as the strategy's."""
    inner, compiled = unwrap_compiled(module) if reapply_compile else (module, None)
    converted = runtime.precision.convert_module(inner)
    placed, stepped = runtime.strategy.setup(converted, lambda: optimizers, move_to_device=move_to_device)
    if compiled is not None:
        placed = recompile(placed, like=compiled)
    original, _ = unwrap_compiled(inner)
    return FabricModule(placed, original, strategy=runtime.strategy, precision=runtime.precision), stepped


def set_up_loader(
    strategy: Strategy, loader: Any, *, use_distributed_sampler: bool, move_to_device: bool
) -> FabricDataLoader:
    """Let a loader share its samples out over the ranks, seed its workers, and wrap it.

    Raises:
        TypeError: for anything but torch's ``DataLoader``.
    """
    if not isinstance(loader, DataLoader):
        message = f"`dataloaders` must be instances of torch's DataLoader, not {type(loader).__name__}."
        raise TypeError(message)
    sharing = strategy.distributed_sampler_kwargs
    if use_distributed_sampler and sharing is not None:
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        loader = with_distributed_sampler(loader, num_replicas=sharing["num_replicas"], rank=sharing["rank"], seed=seed)
        loader = with_shared_iterable(loader, num_replicas=sharing["num_replicas"], rank=sharing["rank"])
    seed_workers(loader, data_share(strategy).index)  # ranks that have the same samples draw the same
    return FabricDataLoader(strategy.setup_dataloader(loader), strategy.root_device if move_to_device else None)


def refuse_wrapped(*objects: object) -> None:
    """Refuse what was set up before."""
    for one in objects:
        if is_wrapped(one):
            message = f"This {type(one).__name__} is set up already; set an object up once."
            raise ValueError(message)


def introduce(module: Any, fabric: object, *, callbacks: list[Any]) -> None:
    """Let a module that asks for it (a LightningModule, by its property ``fabric``) reach Fabric and hear hooks."""
    if not hasattr(type(module), "fabric"):
        return
    module.fabric = fabric
    if all(module is not callback for callback in callbacks):
        callbacks.append(module)
