"""Collectives of a strategy in the forms that a loop of one's own needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lt_interfaces import Strategy


def over_tensors(data: Any, device: torch.device, *, collective: Callable[..., Tensor], **kwargs: Any) -> Any:
    """Apply a collective to every tensor and number in nested data.

    Args:
        data: any nested collection, in the same order on every rank; numbers become tensors.
        device: where the tensors are put first.
        collective: what's applied to each.
        kwargs: passed to the collective.
    """

    def apply(value: Any) -> Tensor:
        return collective(torch.as_tensor(value, device=device), **kwargs)

    return apply_to_collection(data, (Tensor, bool, int, float, complex), apply)


@contextmanager
def first_alone(strategy: Strategy, *, local: bool) -> Iterator[None]:
    """Let rank 0 of the job, or with ``local`` of each machine, run the block before the others do."""
    rank = strategy.local_rank if local else strategy.global_rank
    if rank > 0:
        strategy.barrier("rank_zero_first")
    yield
    if rank == 0:
        strategy.barrier("rank_zero_first")


def plain_numbers(metrics: Any) -> Any:
    """Return metrics with tensors of one element turned into numbers."""
    return apply_to_collection(metrics, Tensor, Tensor.item)
