"""What each of two real processes does; in a module of its own, which a forked server can import by name."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.sharded_folder import ShardedFolder
from lt_checkpoint_io.torch_checkpoint_io import TorchCheckpointIO


def network() -> nn.Module:
    """Layers of sizes that two ranks can't share equally, one smaller than the number of ranks."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def state_after_a_step(model: nn.Module) -> dict[str, Any]:
    """Train one step and return the checkpoint; the same on every rank and without ranks."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    torch.manual_seed(2)
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    return {
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "rng": torch.get_rng_state(),
        "epoch": 1,
    }


def run_rank(rank: int, folder: str, task: Callable[[int, Path], None]) -> None:
    """Run a task in a process group of two."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store_{task.__name__}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    task(rank, Path(folder))
    dist.barrier()
    dist.destroy_process_group()


def sharded_network() -> nn.Module:
    """Return the network, sharded over both ranks."""
    model = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return model


def save_sharded(rank: int, folder: Path) -> None:
    """Save from two ranks, and what should be in it from rank 0 as a plain file."""
    checkpoint = state_after_a_step(sharded_network())
    assert isinstance(checkpoint["state_dict"]["0.weight"], DTensor)
    if rank:
        checkpoint |= {"epoch": "rank 0 decides", "only here": torch.ones(3), "rng": torch.zeros(1)}
    checkpoint_io = DistributedCheckpointIO()
    checkpoint_io.save_checkpoint(checkpoint, folder / "sharded")
    assert checkpoint_io.ranks.group is None  # the default group, which a job that fails closes
    # committed for all when it returns for one
    assert checkpoint_io.is_whole(folder / "sharded")
    loaded = checkpoint_io.load_checkpoint(folder / "sharded")
    for name, weight in checkpoint["state_dict"].items():
        assert torch.equal(weight.full_tensor(), loaded["state_dict"][name])
    torch.save(loaded, folder / f"seen_by_{rank}.pt")


def load_into_shards(rank: int, folder: Path) -> None:
    """Fill a sharded model from what one process saved."""
    model = sharded_network()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    expected = torch.load(folder / "expected.pt", weights_only=True)
    state = state_after_a_step(model)
    wanted = {"state_dict": state["state_dict"], "optimizer_states": state["optimizer_states"]}
    loaded = DistributedCheckpointIO().load_into(folder / "single", wanted)
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor)
        assert torch.equal(parameter.full_tensor(), expected["state_dict"][name]), name
    for index, moments in loaded["optimizer_states"][0]["state"].items():
        moment = expected["optimizer_states"][0]["state"][index]["exp_avg"]
        assert torch.equal(moments["exp_avg"].full_tensor(), moment)
    assert loaded["epoch"] == 1
    assert torch.equal(loaded["rng"], expected["rng"])
    (folder / f"rank{rank}_done").touch()


def load_placed_in_many_ways(folder: Path) -> list[list[int]]:
    """Read what two ranks saved into tensors sharded as then, otherwise and not at all; returns the parts read.

    The number of stored parts of ``0.weight`` that this rank read, for each way.
    """
    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/placed", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    whole = torch.arange(35.0).reshape(7, 5)
    checkpoint = {"weight": distribute_tensor(whole, mesh, [Shard(0)]), "plain": torch.ones(3), "epoch": 1}
    DistributedCheckpointIO().save_checkpoint(checkpoint, folder / "placed.ckpt")
    read: list[int] = []
    original = ShardedFolder.read_chunk

    def counting(self: ShardedFolder, name: str, chunk: Any) -> torch.Tensor:
        if name == "weight":
            read.append(chunk.offsets[0])
        return original(self, name, chunk)

    ShardedFolder.read_chunk = counting  # type: ignore[method-assign]
    ways: list[list[int]] = []
    for placements in ([Shard(0)], [Shard(1)], [Replicate()]):
        target = distribute_tensor(torch.zeros(7, 5), mesh, placements)
        loaded = DistributedCheckpointIO().load_placed(
            folder / "placed.ckpt", lambda place, _, target=target: target if place == ("weight",) else None
        )
        assert loaded["weight"] is target
        assert torch.equal(target.full_tensor(), whole)
        assert torch.equal(loaded["plain"], torch.ones(3))
        ways.append(list(read))
        read.clear()
    loaded = TorchCheckpointIO().load_placed(folder / "placed.ckpt", lambda place, like: None)
    assert torch.equal(loaded["weight"], whole)
    ways.append(list(read))
    refused = ""
    try:
        TorchCheckpointIO().save_checkpoint(checkpoint, folder / "refused.ckpt")
    except TypeError as error:
        refused = str(error)
    assert "`weight` is sharded (DTensor)" in refused
    assert not (folder / "refused.ckpt").exists()
    dist.barrier()
    dist.destroy_process_group()
    return ways


def fail_on_rank_0(rank: int, folder: Path) -> None:
    """Save what can't be pickled, then where nothing can be; both fail on both ranks, and a good save works."""
    checkpoint_io = DistributedCheckpointIO()
    (folder / "file").touch()
    for checkpoint, path in (({"hook": lambda: None}, "sharded"), ({"epoch": 2}, "file/below")):
        try:
            checkpoint_io.save_checkpoint(checkpoint, folder / path)
        except Exception as error:
            with (folder / f"failures_{rank}").open("a") as file:
                file.write(f"{type(error).__name__}: {error}\n")
    checkpoint_io.save_checkpoint({"epoch": 3}, folder / "sharded")


def fail_on_rank_1(rank: int, folder: Path) -> None:
    """Let one rank fail while it writes its shards."""
    checkpoint = state_after_a_step(sharded_network())
    os.environ["LT_TEST_RANK"] = str(rank)
    original = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if rank == 1 and self.name.endswith(".distcp"):
            raise OSError(28, "No space left on device")
        return original(self, mode, *args, **kwargs)

    Path.open = full  # type: ignore[method-assign]
    try:
        DistributedCheckpointIO().save_checkpoint(checkpoint, folder / "sharded")
    except OSError as error:
        (folder / f"failed_{rank}").write_text(str(error))


def die_while_saving(rank: int, folder: Path) -> None:
    """Kill both ranks in the middle of a save, when one shard is there and the other isn't."""
    checkpoint = state_after_a_step(sharded_network()) | {"epoch": 2}
    original = os.fsync

    def die(descriptor: int) -> None:
        original(descriptor)
        if ".distcp" in os.readlink(f"/proc/self/fd/{descriptor}"):
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = die
    DistributedCheckpointIO().save_checkpoint(checkpoint, folder / "sharded")
