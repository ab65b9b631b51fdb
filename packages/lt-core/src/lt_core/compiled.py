"""Modules that were handed to `torch.compile` before they came to the Trainer."""

from typing import Any

from torch import nn

from lt_core.hook_plan import overrides

_COMPILED = ("forward", "training_step", "validation_step", "test_step", "predict_step")


def unwrap_compiled(model: Any) -> Any:
    """Return the user's module, with its steps compiled, from what `torch.compile` returned; others as they are."""
    original = getattr(model, "_orig_mod", None)
    if original is None or not isinstance(model, nn.Module):
        return model
    compiled: Any = model  # typed as a plain module by torch
    for name in _COMPILED:
        method = getattr(original, name, None)
        is_own = name == "forward" or overrides(original, name)
        if method is not None and is_own and name not in vars(original):
            setattr(original, name, compiled.dynamo_ctx(method))
    return original
