"""What each of two real processes does; in a module of its own, which a forked server can import by name."""

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed
from torch import Tensor

from lt_core.logging.reduction import Entry, reduce_over_ranks


class Gloo:
    """The collectives of a strategy, as torch offers them."""

    root_device = torch.device("cpu")
    world_size = 2
    distributed_sampler_kwargs: ClassVar = {"num_replicas": 2, "rank": 0}

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
