"""Saves in a process that kills itself before its N-th change of what's on disk; importable by a forked server."""

import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import torch

from lt_checkpoint_io import DistributedCheckpointIO, TorchCheckpointIO
from lt_interfaces import commit
from lt_interfaces.checkpoint_io import CheckpointIO


def io_for(kind: str) -> CheckpointIO:
    """Return what saves a ``"file"`` or a ``"folder"``."""
    return TorchCheckpointIO() if kind == "file" else DistributedCheckpointIO()


def save_and_die(path: str, kind: str, way: str, moment: int) -> None:
    """Save epoch 2, unless that takes so many changes."""
    left = moment

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    torch.set_num_threads(1)
    exchange = commit._exchange
    commit._exchange = dying(exchange) if way == "exchange" else lambda one, other: False
    for module, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (shutil, "rmtree")):
        setattr(module, name, dying(getattr(module, name)))
    io_for(kind).save_checkpoint({"epoch": 2, "weight": torch.full((3,), 2.0)}, path)
