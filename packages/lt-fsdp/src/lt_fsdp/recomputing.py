"""Layers whose activations aren't kept, but computed again in backward."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointWrapper,
    apply_activation_checkpointing,
)

from lt_fsdp.units import units_of


def recompute(module: nn.Module, policy: Any) -> None:
    """Let the activations of some layers be computed again in backward, in place; names in the state stay as they are.

    Args:
        module: the model.
        policy: which layers, as for `units_of`; ``None``: none.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016), as torch's checkpoint wrapper has it.
    """
    if policy is None:
        return
    if isinstance(policy, type):
        policy = {policy}
    wrappers = [one for one in module.modules() if isinstance(one, CheckpointWrapper)]
    done = {id(one) for one in wrappers} | {id(one._checkpoint_wrapped_module) for one in wrappers}  # in an earlier run
    chosen = {id(one) for one in units_of(module, policy)} - done
    if chosen:
        apply_activation_checkpointing(module, check_fn=lambda one: id(one) in chosen)


def wrapped_in(module: nn.Module, layer: nn.Module) -> nn.Module:
    """Return the wrapper that a layer was put into, or the layer itself."""
    wrappers: Iterable[nn.Module] = (one for one in module.modules() if isinstance(one, CheckpointWrapper))
    return next((one for one in wrappers if one._checkpoint_wrapped_module is layer), layer)
