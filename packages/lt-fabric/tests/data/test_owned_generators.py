import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from epoch_loops import Noisy, OwnRandom, Recording, own, stored
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset

from lt_fabric.data.owned_generators import capture_generators, owned_generators, restore_generators

KINDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "torch": (own(1), lambda generator: torch.rand(3, generator=generator).tolist()),
    "python": (random.Random(1), lambda generator: [generator.gauss(), generator.random()]),
    "numpy": (np.random.default_rng(1), lambda generator: generator.standard_normal(3).tolist()),
    "numpy, another bit generator": (
        np.random.Generator(np.random.MT19937(1)),
        lambda generator: generator.random(3).tolist(),
    ),
    "old numpy": (np.random.RandomState(1), lambda generator: generator.randn(3).tolist()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_generator_draws_again_what_it_drew_after_a_trip_through_a_file(kind: str) -> None:
    generator, draw = KINDS[kind]
    draw(generator)
    states = capture_generators([generator])
    expected = draw(generator)
    assert draw(generator) != expected
    restore_generators([generator], stored(states))
    assert draw(generator) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_states_arent_changed_by_later_draws(kind: str) -> None:
    generator, draw = KINDS[kind]
    states = capture_generators([generator])
    first = draw(generator)
    restore_generators([generator], states)
    draw(generator)
    restore_generators([generator], states)
    assert draw(generator) == first


def test_generators_of_loader_samplers_and_datasets_are_found() -> None:
    dataset = Noisy(4)
    sampler = RandomSampler(range(4), generator=own(1))
    loader = DataLoader(Subset(dataset, [0, 1]), batch_sampler=BatchSampler(sampler, 2, False), generator=own(2))
    found = owned_generators(loader)
    expected = [
        loader.generator,
        sampler.generator,
        *(value for name, value in vars(dataset).items() if name[:3] == "of_"),
    ]
    assert len(found) == 6
    assert {id(generator) for generator in found} == {id(generator) for generator in expected}


def test_generator_that_several_share_is_found_once() -> None:
    assert len(owned_generators(DataLoader(Recording(4), shuffle=True, generator=own()))) == 1


def test_generator_of_a_sampler_that_is_no_torch_sampler_is_found() -> None:
    sampler = OwnRandom()
    assert owned_generators(DataLoader(Recording(4), sampler=sampler)) == [sampler.generator]


@pytest.mark.parametrize("loader", [range(3), [1], DataLoader(Recording(4), shuffle=True), object()])
def test_nothing_is_found_where_nothing_is_owned(loader: Any) -> None:
    assert owned_generators(loader) == []


def test_another_number_of_generators_is_refused() -> None:
    with pytest.raises(ValueError, match=r"states of 2 random generators, but .* has 1"):
        restore_generators([own()], capture_generators([own(), own()]))
