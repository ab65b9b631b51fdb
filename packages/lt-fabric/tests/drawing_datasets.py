"""Datasets that draw; in a module of their own, so that spawned workers can import it."""

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


class Noise(Dataset[tuple[int, float, float, float]]):
    """Each item is its index and a number from each generator."""

    def __init__(self, length: int = 8) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> tuple[Any, float, float, float]:
        return index, random.random(), np.random.random(), torch.rand(()).item()


class BatchedNoise(Noise):
    """Reads whole batches."""

    def __getitems__(self, indices: list[int]) -> list[tuple[int, float, float, float]]:
        first = self[indices[0]]
        return [(index, *first[1:]) for index in indices]


def as_given(samples: list[Any]) -> list[Any]:
    """Keep a batch as the list it is."""
    return samples


def with_noise(samples: list[Any]) -> tuple[list[Any], float]:
    """Draw once more for the whole batch."""
    return samples, torch.rand(()).item()
