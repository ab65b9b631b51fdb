"""What each of two real processes does with saves in the background; importable by name."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from sharded_ranks import sharded_network, state_after_a_step
from torch import nn
from torch.distributed.tensor import DTensor

from lt_checkpoint_io.async_checkpoint_io import AsyncCheckpointIO
from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.sharded_folder import SplitCheckpoint
from lt_checkpoint_io.snapshot import snapshot


@contextmanager
def joined(folder: Path, name: str = "store") -> Iterator[int]:
    """Be in a process group of two; gives the rank."""
    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=2, timeout=timedelta(seconds=30)
    )
    yield rank
    dist.barrier()
    dist.destroy_process_group()


class Unsavable:
    """Can't be copied."""

    def __deepcopy__(self, memo: object) -> NoReturn:
        message = "no copy of this"
        raise ValueError(message)


def new_io() -> AsyncCheckpointIO:
    return AsyncCheckpointIO(DistributedCheckpointIO())


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Train a step, with collectives on the default group."""
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def train_while_saving(folder: Path) -> int:
    """Save, train on while the ranks are held within the save, and let them write; returns the number of steps."""
    gate = threading.Event()
    original = SplitCheckpoint.write_tensors

    def gated(self: SplitCheckpoint, folder: Path, group: dist.ProcessGroup | None) -> None:
        assert gate.wait(30)
        original(self, folder, group)

    SplitCheckpoint.write_tensors = gated  # type: ignore[method-assign]
    with joined(folder) as rank:
        model = sharded_network()
        checkpoint = state_after_a_step(model)
        expected = {name: weight.full_tensor().clone() for name, weight in checkpoint["state_dict"].items()}
        checkpoint_io = new_io()
        checkpoint_io.save_checkpoint(checkpoint, folder / "sharded")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        steps = 0
        while steps < 20:
            if steps == 10 * rank:  # one rank is within the save's collectives while the other isn't
                assert not (folder / "sharded").exists()
                gate.set()
            step(model, optimizer)
            checkpoint_io.poll()
            steps += 1
        assert checkpoint_io.is_whole(folder / "sharded")
        loaded = checkpoint_io.load_checkpoint(folder / "sharded")
        for name, weight in expected.items():
            assert torch.equal(weight, loaded["state_dict"][name]), name
        assert not torch.equal(model.state_dict()["0.weight"].full_tensor(), expected["0.weight"])
        checkpoint_io.teardown()
    return steps


def take_snapshot(folder: Path) -> None:
    """Look at what a snapshot of sharded state holds on each rank."""
    with joined(folder):
        weight = sharded_network().state_dict()["0.weight"]
        before = weight.to_local().clone()
        taken = snapshot({"weight": weight, "tied": weight.detach()})
        weight.to_local().zero_()
        copied, tied = taken["weight"], taken["tied"]
        assert isinstance(copied, DTensor)
        assert (copied.size(), copied.placements, copied.device_mesh) == (
            weight.size(),
            weight.placements,
            weight.device_mesh,
        )
        assert torch.equal(copied.to_local(), before)
        assert copied.to_local().device.type == "cpu"
        assert copied.to_local().data_ptr() == tied.to_local().data_ptr() != weight.to_local().data_ptr()


def text_of_failure(action: Callable[[], object]) -> str:
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


@contextmanager
def full_disk(is_here: bool) -> Iterator[None]:
    """Let no shards be written by a rank."""
    original = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if self.name.endswith(".distcp") and "w" in mode:
            time.sleep(0.2)
            raise OSError(28, "No space left on device")
        return original(self, mode, *args, **kwargs)

    if is_here:
        Path.open = full  # type: ignore[method-assign]
    yield
    Path.open = original  # type: ignore[method-assign]


def fail_at_a_poll(checkpoint_io: AsyncCheckpointIO, checkpoint: Any, folder: Path, failing: int) -> tuple[int, str]:
    """Save without room on one rank, and train until a poll tells; returns the number of that poll and what it told."""
    rank = dist.get_rank()
    with full_disk(is_here=rank == failing):
        checkpoint_io.save_checkpoint(checkpoint, folder / "sharded")
        for number in range(1, 2000):
            dist.all_reduce(torch.ones(1))  # hangs if the other rank was told a step before
            time.sleep(0.001 * rank)
            told = text_of_failure(checkpoint_io.poll)
            if told != "none":
                return number, told
    return 0, "nothing was told"


def fail_in_every_way(folder: Path) -> dict[str, Any]:
    """Let saves and removals fail on one rank at a time; returns what this rank was told."""
    told: dict[str, Any] = {}
    with joined(folder) as rank:
        checkpoint = state_after_a_step(sharded_network())
        checkpoint_io = new_io()
        for failing in (0, 1):
            told[f"poll {failing}"] = fail_at_a_poll(checkpoint_io, checkpoint, folder, failing)
        with full_disk(is_here=rank == 1):
            checkpoint_io.save_checkpoint(checkpoint, folder / "sharded")
            told["next save"] = text_of_failure(lambda: checkpoint_io.save_checkpoint(checkpoint, folder / "sharded"))
            checkpoint_io.save_checkpoint(checkpoint, folder / "sharded")
            told["teardown"] = text_of_failure(checkpoint_io.teardown)
        for failing in (0, 1):
            bad = checkpoint | ({"bad": Unsavable()} if rank == failing else {})
            told[f"snapshot {failing}"] = text_of_failure(
                partial(checkpoint_io.save_checkpoint, bad, folder / "sharded")
            )
            empty = checkpoint | ({"bad": torch.empty(1, device="meta")} if rank == failing else {})
            told[f"split {failing}"] = text_of_failure(
                partial(DistributedCheckpointIO().save_checkpoint, empty, folder / "sharded")
            )
        assert DistributedCheckpointIO().load_checkpoint(folder / "sharded") == {"epoch": 0}
        told["removal"] = fail_to_remove(checkpoint_io, checkpoint, folder)
        checkpoint_io.save_checkpoint({"epoch": 2}, folder / "sharded")
        if rank == 0:
            checkpoint_io.remove_checkpoint(folder / "other")
        checkpoint_io.teardown()
        dist.barrier()
        told["left"] = sorted(entry.name for entry in folder.iterdir() if "store" not in entry.name)
    return told


def fail_to_remove(checkpoint_io: AsyncCheckpointIO, checkpoint: Any, folder: Path) -> str:
    """Let rank 0 fail to remove a checkpoint in the background, and save another."""
    checkpoint_io.save_checkpoint(checkpoint, folder / "other")
    original = os.replace

    def refuse(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    if dist.get_rank() == 0:
        checkpoint_io.stored(folder)  # waits for the save
        os.replace = refuse  # type: ignore[assignment]
        checkpoint_io.remove_checkpoint(folder / "other")
        checkpoint_io.stored(folder)
        os.replace = original
    return text_of_failure(lambda: checkpoint_io.save_checkpoint(checkpoint, folder / "sharded"))


def save_in_one_group_after_another(folder: Path) -> list[str]:
    """Save alone, in a group, and in the next group, with one checkpoint IO; returns what went wrong."""
    checkpoint_io = new_io()
    own = folder / os.environ["LOCAL_RANK"]
    checkpoint_io.save_checkpoint({"epoch": 1}, own)
    checkpoint_io.teardown()
    assert DistributedCheckpointIO().load_checkpoint(own) == {"epoch": 1}
    for fit in (1, 2):
        with joined(folder, f"store{fit}"):
            checkpoint = state_after_a_step(sharded_network()) | {"epoch": fit}
            for _ in range(2):
                checkpoint_io.save_checkpoint(checkpoint, folder / "sharded")
            checkpoint_io.teardown()
            assert checkpoint_io.load_checkpoint(folder / "sharded")["epoch"] == fit
            dist.barrier()
    return []


def die_in_the_background(rank: int, folder: str, victim: int, file: str) -> None:
    """Kill one rank when a file is on its disk, and write down what the other is told."""
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    original = os.fsync

    def die(descriptor: int) -> None:
        original(descriptor)
        if rank == victim and file in os.readlink(f"/proc/self/fd/{descriptor}"):
            time.sleep(0.3)  # the other one has begun to wait by then
            os.kill(os.getpid(), signal.SIGKILL)

    with joined(Path(folder)):
        checkpoint = state_after_a_step(sharded_network()) | {"epoch": 2}
        checkpoint_io = new_io()
        os.fsync = die  # type: ignore[assignment]
        checkpoint_io.save_checkpoint(checkpoint, Path(folder, "sharded"))
        Path(folder, f"told_{rank}").write_text(text_of_failure(checkpoint_io.teardown))
        os._exit(7)  # without the other rank there's no leaving together
