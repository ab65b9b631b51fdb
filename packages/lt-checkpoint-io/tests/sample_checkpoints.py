"""Checkpoints that several tests look at."""

from typing import Any

import torch
from torch import nn


def trained(width: int = 4) -> dict[str, Any]:
    """Return a small checkpoint with everything that a Trainer's has."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return {
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "callbacks": {"EarlyStopping": {"best_score": torch.tensor(0.5), "wait": 2}},
        "hyper_parameters": {"width": width, "data": {"root": "here"}},
        "lt": {"rng": [torch.get_rng_state(), (3, (1, 2), None)], "versions": {"lt-core": "0.1.0"}},
        "epoch": 2,
        "global_step": 30,
        "pytorch-lightning_version": "2.6.0",
    }


def assert_equal(one: Any, other: Any) -> None:
    """Compare two checkpoints, types and order included."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other
