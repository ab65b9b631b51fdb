"""Random generators that belong to a loader: its own, its samplers' and its dataset's."""

import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch

from lt_fabric.data.shared_order import SharedOrder

# A `torch.Generator`, a `random.Random`, or one of numpy's, which may not be installed.
OwnedGenerator: TypeAlias = Any


def owned_generators(loader: object) -> list[OwnedGenerator]:
    """Returns the generators that `loader`, its samplers and its dataset hold as attributes, each once.

    The global generators aren't among them: `lt_interfaces.rng` takes care of those.
    """
    kinds = _kinds()
    found = {
        id(value): value
        for owner in _owners(loader)
        for value in getattr(owner, "__dict__", {}).values()
        if isinstance(value, kinds)
    }
    return list(found.values())


def capture_generators(generators: Sequence[OwnedGenerator]) -> list[Any]:
    """Returns the state of each generator, as tensors and plain values or arrays."""
    return [_state_of(generator) for generator in generators]


def restore_generators(generators: Sequence[OwnedGenerator], states: Sequence[Any]) -> None:
    """Puts the states back.

    Raises:
        ValueError: there are more or fewer generators than states, so the loader isn't the one that was saved.
    """
    if len(generators) != len(states):
        message = (
            f"The saved data position holds the states of {len(states)} random generators, but the loader with its "
            f"samplers and dataset has {len(generators)}. Resume with the loader that the run was saved with."
        )
        raise ValueError(message)
    for generator, state in zip(generators, states, strict=True):
        _restore(generator, state)


def _kinds() -> tuple[type, ...]:
    numpy = sys.modules.get("numpy")
    return (
        torch.Generator,
        random.Random,
        *((numpy.random.Generator, numpy.random.RandomState) if numpy is not None else ()),
    )


def _owners(loader: object) -> Iterator[object]:
    yield loader
    yield from _with_wrapped(getattr(loader, "sampler", None))
    yield from _with_wrapped(getattr(loader, "batch_sampler", None))
    dataset = getattr(loader, "dataset", None)
    while dataset is not None:
        yield dataset
        dataset = getattr(dataset, "dataset", None)  # `Subset` and its like


def _with_wrapped(sampler: object) -> Iterator[object]:
    """Gives a sampler, what it gets its indices from, and so on; where ranks share the loader, as in one process."""
    seen: set[int] = set()
    while sampler is not None and id(sampler) not in seen:
        seen.add(id(sampler))
        yield sampler
        sampler = sampler.own if isinstance(sampler, SharedOrder) else getattr(sampler, "sampler", None)


def _state_of(generator: OwnedGenerator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        version, words, gauss = generator.getstate()
        return {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss}
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    return generator.get_state(legacy=False)


def _restore(generator: OwnedGenerator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state.cpu())
    elif isinstance(generator, random.Random):
        generator.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)
