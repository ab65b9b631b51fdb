"""Steps whose scaled gradients overflow are skipped, on all ranks, with all that follows; also after a resume."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest
from overflow_ranks import NUM_BATCHES, Case, Found, checkpoint_of, train
from serving_ranks import Ask, serving

STRATEGIES = ["auto", "ddp", "fsdp"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Found]]:
    with serving(train, tmp_path_factory.mktemp("ranks"), seconds=120) as ask:

        def run_case(case: Case) -> Found:
            return train(case) if case.strategy == "auto" else _the_same(ask, case)

        yield run_case


def _the_same(ask: Ask, case: Case) -> Found:
    first, second = ask(case)
    assert first == second
    found: Found = first
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_infinity_on_one_rank_skips_the_step_on_all_and_halves_the_scale(
    run: Callable[[Case], Found], strategy: str, tmp_path: Path
) -> None:
    found = run(Case(strategy, planted=(2, 5), folder=str(tmp_path)))
    assert [before / after for before, after in zip(found.scales, found.scales[1:], strict=False)] == [
        2 if batch in (2, 5) else 1 for batch in range(1, NUM_BATCHES)
    ]
    assert found.steps[-1] == (NUM_BATCHES - 2, 2)
    for skipped in (2, 5):
        assert found.weights[skipped] == found.weights[skipped - 1]
        assert found.rates[skipped] == found.rates[skipped - 1]
    assert found.rates[-1] == 0.1 * 0.5 ** (NUM_BATCHES - 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_window_with_an_infinity_in_it_is_skipped_whole(
    run: Callable[[Case], Found], strategy: str, tmp_path: Path
) -> None:
    found = run(Case(strategy, planted=(2,), folder=str(tmp_path), accumulation=2))
    assert found.steps[-1] == (NUM_BATCHES // 2 - 1, 1)
    assert found.weights[3] == found.weights[1]
    assert found.weights[5] != found.weights[3]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("saved_after", [2, 3])
def test_a_resumed_run_goes_on_with_scale_counts_and_schedule(
    run: Callable[[Case], Found], strategy: str, saved_after: int, tmp_path: Path
) -> None:
    case = Case(strategy, planted=(2, 5), folder=str(tmp_path), save_after=saved_after)
    whole = run(case)
    resumed = run(replace(case, save_after=None, resume_from=checkpoint_of(case)))
    left = NUM_BATCHES - 1 - saved_after
    assert resumed == Found(
        *(getattr(whole, name)[-left:] for name in ("scales", "rates", "steps", "weights", "norms"))
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_norm_of_all_gradients_is_that_of_full_precision(
    run: Callable[[Case], Found], strategy: str, tmp_path: Path
) -> None:
    scaled = run(Case(strategy, planted=(), folder=str(tmp_path)))
    plain = run(Case("auto", planted=(), folder=str(tmp_path), precision="32-true"))
    assert scaled.scales[0] > 1
    assert scaled.norms == pytest.approx(plain.norms, rel=0.01)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_norm_of_a_skipped_step_shows_why(run: Callable[[Case], Found], strategy: str, tmp_path: Path) -> None:
    found = run(Case(strategy, planted=(2,), folder=str(tmp_path)))
    assert [isfinite(norm) for norm in found.norms] == [batch != 2 for batch in range(NUM_BATCHES)]
