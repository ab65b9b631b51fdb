"""A stand-in for NVIDIA's engine, whose layers and contexts have its names and arguments and do what torch's do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

entered: list[Any] = []
"""The recipe of each context that was entered."""


class Format(Enum):
    E4M3 = "e4m3"
    HYBRID = "hybrid"


class DelayedScaling:
    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments


class Stateful:
    """Keeps something in checkpoints, as the engine's layers do."""

    def get_extra_state(self) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        assert state is None or state.numel() == 0


class Linear(Stateful, nn.Linear):
    def __init__(self, in_features: int, out_features: int, *, bias: bool, params_dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, bias=bias, dtype=params_dtype)


class LayerNorm(Stateful, nn.LayerNorm):
    def __init__(self, size: int, *, eps: float, params_dtype: torch.dtype) -> None:
        super().__init__(size, eps=eps, dtype=params_dtype)


@contextmanager
def autocast(*, enabled: bool, recipe: Any) -> Iterator[None]:
    assert enabled
    entered.append(recipe)
    try:
        yield
    finally:
        entered.append("left")


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine's modules be found, and torch's autocast for CUDA run on the CPU; older contexts are forgotten."""
    entered.clear()
    real = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: real("cpu" if kind == "cuda" else kind, dtype))
    contents: dict[str, dict[str, Any]] = {
        "transformer_engine": {},
        "transformer_engine.pytorch": {"Linear": Linear, "LayerNorm": LayerNorm, "autocast": autocast},
        "transformer_engine.common": {},
        "transformer_engine.common.recipe": {"Format": Format, "DelayedScaling": DelayedScaling},
    }
    for kind in (Linear, LayerNorm):
        monkeypatch.setattr(kind, "__module__", "transformer_engine.pytorch.module")
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members, __path__=[])
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
