"""Modules that went through `torch.compile`."""

from typing import Any

from torch import nn


def unwrap_compiled(module: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Return the module that was compiled, and the compiled one (``None`` if it wasn't)."""
    original = getattr(module, "_orig_mod", None)
    return (module, None) if original is None else (original, module)


def recompile(module: nn.Module, like: Any) -> nn.Module:
    """Return the module compiled with the settings of another, which `torch.compile` returned.

    These are kept in the compiled module itself, so nothing has to watch calls of `torch.compile`.
    """
    compiled: nn.Module = like.dynamo_ctx(module)
    return compiled
