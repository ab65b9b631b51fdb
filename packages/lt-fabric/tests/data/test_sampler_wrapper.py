"""Ranks share what a sampler draws, as with Lightning's wrapper."""

import pytest
import torch
from torch.utils.data import RandomSampler

from lt_fabric.data.sampler_wrapper import DistributedSamplerWrapper


class Counting:
    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
        return iter(range(self.epoch, self.epoch + 4))

    def __len__(self) -> int:
        return 4


def shares(sampler: object, **options: object) -> list[list[int]]:
    return [list(DistributedSamplerWrapper(sampler, num_replicas=2, rank=rank, **options)) for rank in (0, 1)]  # type: ignore[arg-type]


def test_ranks_take_turns_in_the_samplers_order() -> None:
    assert shares([5, 3, 1, 2, 8], shuffle=False) == [[5, 1, 8], [3, 2, 5]]
    assert shares([5, 3, 1, 2, 8], shuffle=False, drop_last=True) == [[5, 1], [3, 2]]


def test_together_they_have_all_that_the_sampler_draws() -> None:
    generators = [torch.Generator().manual_seed(3) for _ in (0, 1)]
    first, second = [
        list(DistributedSamplerWrapper(RandomSampler(range(6), generator=generator), num_replicas=2, rank=rank))
        for rank, generator in enumerate(generators)
    ]
    assert sorted(first + second) == list(range(6))


def test_the_sampler_hears_of_the_epoch_and_draws_anew() -> None:
    wrapper = DistributedSamplerWrapper(Counting(), num_replicas=2, rank=0, shuffle=False)
    assert list(wrapper) == [0, 2]
    wrapper.set_epoch(10)
    assert list(wrapper) == [10, 12]
    assert (len(wrapper), wrapper.epoch) == (2, 10)


def test_a_sampler_without_length_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`sampler`, a list_iterator, has no length"):
        DistributedSamplerWrapper(iter([1]), num_replicas=1, rank=0)
