"""The reduction over ranks with torch's own collectives: two real processes, gloo."""

import multiprocessing
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

from lt_core.logging.reduction import Entry, reduce_over_ranks


class Gloo:
    """The collectives of a strategy, as torch offers them."""

    root_device = torch.device("cpu")
    world_size = 2

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, tensor)
        return torch.stack(parts)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        box = [obj]
        torch.distributed.broadcast_object_list(box, src)
        return box[0]


def reduce_in_process(rank: int, folder: str) -> None:
    """Reduce two names, then fail on a third; what came out is written to a file."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    loss = Entry("loss", torch.tensor(float(rank)), 1.0 + 2 * rank, "mean")
    numbers = reduce_over_ranks([loss, Entry("samples", 10 + rank, 1.0, "sum")], Gloo())
    try:
        reduce_over_ranks([loss] if rank else [], Gloo())
    except RuntimeError as error:
        Path(folder, f"rank{rank}").write_text(f"{numbers}\n{error}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_agree_on_values_and_on_names_that_differ(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["torch", "torch.distributed", "lt_core.logging.reduction"])
    torch.multiprocessing.start_processes(reduce_in_process, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in range(2))
    assert first == second
    numbers, message = first.splitlines()
    assert numbers == str({"loss": 0.75, "samples": 21.0})
    assert "`loss` only on ranks [1]" in message
