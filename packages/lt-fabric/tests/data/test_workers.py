import os
import random
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lt_fabric.data import seed_workers, suggested_num_workers


class Noise(Dataset[tuple[float, float]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[float, float]:
        return random.random(), torch.rand(()).item()


def noise(rank: int, **arguments: Any) -> list[Any]:
    torch.manual_seed(1)
    loader = DataLoader(Noise(), batch_size=None, num_workers=2, **arguments)
    seed_workers(loader, rank)
    return list(loader)


@pytest.mark.parametrize(("local_world_size", "expected"), [(1, 7), (2, 3), (4, 1), (8, 1), (16, 1)])
def test_suggested_workers_leave_one_cpu_to_each_process(
    monkeypatch: pytest.MonkeyPatch, local_world_size: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert suggested_num_workers(local_world_size) == expected


def test_workers_of_every_rank_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", "1")
    everything = noise(rank=0) + noise(rank=1)
    assert len({value for pair in everything for value in pair}) == 16
    assert noise(rank=0) == everything[:4]


@pytest.mark.parametrize("setting", ["0", None])
def test_workers_stay_as_torch_seeds_them_unless_asked(monkeypatch: pytest.MonkeyPatch, setting: str | None) -> None:
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    if setting is not None:
        monkeypatch.setenv("PL_SEED_WORKERS", setting)
    loader = DataLoader(Noise(), num_workers=2)
    seed_workers(loader, 0)
    assert loader.worker_init_fn is None


def test_own_worker_init_fn_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", "1")
    loader = DataLoader(Noise(), num_workers=2, worker_init_fn=print)
    seed_workers(loader, 0)
    assert loader.worker_init_fn is print


def test_loaders_without_workers_need_no_seeding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", "1")
    loader = DataLoader(Noise())
    seed_workers(loader, 0)
    seed_workers([1, 2], 0)
    assert loader.worker_init_fn is None
