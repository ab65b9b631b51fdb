"""What ranks do, in a module that their processes import by name."""

import os
import time

import torch


def place(tensor: torch.Tensor) -> tuple[dict[str, str], int, torch.Tensor]:
    """Return what a rank is told, its threads, and a tensor of its own."""
    tensor.add_(int(os.environ["LOCAL_RANK"]))
    told = {name: os.environ[name] for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")}
    return told, torch.get_num_threads(), tensor


def ports() -> str:
    """Return the port to meet on."""
    return os.environ["MASTER_PORT"]


def fail() -> None:
    """Fail on rank 1, while rank 0 waits."""
    if os.environ["LOCAL_RANK"] == "1":
        message = "rank 1 can't"
        raise RuntimeError(message)
    time.sleep(60)


def hang() -> None:
    """Hang on rank 1."""
    if os.environ["LOCAL_RANK"] == "1":
        time.sleep(60)
