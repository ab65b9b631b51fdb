"""Worker processes of a loader: how many, and how their randomness is seeded."""

import os
from functools import partial

from torch.utils.data import DataLoader

from lt_interfaces.rng import seed_worker


def suggested_num_workers(local_world_size: int = 1) -> int:
    """Returns how many loader workers each of `local_world_size` processes on this machine can have, at least 1.

    One CPU of the process's share is left for the process itself.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (allowed or 1) // local_world_size - 1)


def seed_workers(loader: object, rank: int) -> None:
    """Gives the workers of `loader` random streams of their own, if `seed_everything(workers=True)` asked for it.

    A `worker_init_fn` of the user's is kept. `rank` is the global rank of this process.
    """
    if os.environ.get("PL_SEED_WORKERS") != "1" or not isinstance(loader, DataLoader):
        return
    if loader.num_workers > 0 and loader.worker_init_fn is None:
        loader.worker_init_fn = partial(seed_worker, rank=rank)
