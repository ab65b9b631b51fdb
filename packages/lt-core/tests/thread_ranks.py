"""Ranks in threads, for code that needs collectives and no process group."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import torch
from torch import Tensor


class Job:
    """Several ranks in threads that meet in every collective."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.num_gathers = 0
        self._meeting = Barrier(world_size, timeout=10)
        self._brought: list[Any] = [None] * world_size

    def meet(self, rank: int, thing: Any) -> list[Any]:
        self._brought[rank] = thing
        self._meeting.wait()
        everything = list(self._brought)
        self._meeting.wait()
        return everything

    def run(self, function: Callable[["Rank"], Any]) -> list[Any]:
        with ThreadPoolExecutor(self.world_size) as pool:
            return list(pool.map(function, [Rank(self, rank) for rank in range(self.world_size)]))


class Rank:
    """What one rank sees of the job."""

    root_device = torch.device("cpu")

    def __init__(self, job: Job, rank: int) -> None:
        self.rank = rank
        self.world_size = job.world_size
        self.distributed_sampler_kwargs = {"num_replicas": job.world_size, "rank": rank}
        self._job = job

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        self._job.num_gathers += self.rank == 0
        return torch.stack(self._job.meet(self.rank, tensor.clone()))

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return self._job.meet(self.rank, obj)[src]
