"""The weights after some steps don't depend on how each batch was cut into micro-batches and ranks."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import torch
from cut_ranks import NUM_STEPS, NUM_TOKENS, Case, trained, uncut
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_ranks import Ask, serving
from torch import Tensor


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with serving(trained, tmp_path_factory.mktemp("ranks"), seconds=300) as ask:
        yield ask


@st.composite
def cases(draw: st.DrawFn, strategy: Literal["auto", "ddp", "fsdp"]) -> Case:
    """Draw a cut: each token goes to any micro-batch, so some may be empty; the epoch's last window may be shorter."""
    ranks = 1 if strategy == "auto" else 2
    accumulation = draw(st.integers(1, 4))
    in_last = draw(st.integers(1, accumulation))
    counts = [accumulation * ranks] * (NUM_STEPS - 1) + [in_last * ranks]
    weight = st.one_of(st.just(0.0), st.floats(0.0625, 100.0, width=32))
    return Case(
        cuts=tuple(draw(_cut(count)) for count in counts),
        weights=tuple(draw(st.lists(weight, min_size=NUM_TOKENS, max_size=NUM_TOKENS).filter(any))),
        optimizer=draw(st.sampled_from(["sgd", "adamw"])),
        clip=draw(st.sampled_from([None, 0.1])),
        door=draw(st.sampled_from(["trainer", "fabric"])),
        strategy=strategy,
        as_tensor=draw(st.booleans()),
    )


def _cut(count: int) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    places = st.lists(st.integers(0, count - 1), min_size=NUM_TOKENS, max_size=NUM_TOKENS)
    return places.map(
        lambda chosen: tuple(
            tuple(token for token, place in enumerate(chosen) if place == number) for number in range(count)
        )
    )


def assert_uncut(case: Case, found: Tensor) -> None:
    torch.testing.assert_close(found, uncut(case), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(cases("auto"))
def test_one_process_trains_as_on_the_uncut_batch(case: Case) -> None:
    assert_uncut(case, trained(case))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_train_as_one_process_on_the_uncut_batch(ranks: Ask, strategy: Any) -> None:
    @settings(deadline=None, max_examples=40)
    @given(cases(strategy))
    def check(case: Case) -> None:
        for found in ranks(case):
            assert_uncut(case, found)

    run: Callable[[], None] = check
    run()
