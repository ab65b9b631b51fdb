import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.top_k import TopK, check_mode, comparable
from lt_interfaces.errors import MisconfigurationException

SCORES = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=20)
MODES = st.sampled_from(["min", "max"])


def run_through(scores: list[float], k: int, mode: str) -> TopK:
    books = TopK(k, mode)
    for index, score in enumerate(scores):
        if books.would_keep(torch.tensor(score)):
            books = books.with_saved(f"{index}.ckpt", torch.tensor(score))
    return books


@given(SCORES, st.integers(1, 5), MODES)
def test_exactly_the_k_best_are_kept_and_of_equal_ones_the_older(scores: list[float], k: int, mode: str) -> None:
    keyed = [(float(comparable(torch.tensor(score), mode)), index) for index, score in enumerate(scores)]
    ranked = sorted(keyed, key=lambda pair: (pair[0] if mode == "min" else -pair[0], pair[1]))
    assert run_through(scores, k, mode).ranked() == [f"{index}.ckpt" for _, index in ranked[:k]]


@given(SCORES, MODES)
def test_minus_one_keeps_all(scores: list[float], mode: str) -> None:
    assert len(run_through(scores, -1, mode).scores) == len(scores)


@given(SCORES, MODES)
def test_zero_keeps_none(scores: list[float], mode: str) -> None:
    assert not run_through(scores, 0, mode).scores


@given(SCORES, st.integers(1, 5), MODES)
def test_what_would_not_be_kept_never_beats_the_kth(scores: list[float], k: int, mode: str) -> None:
    books = run_through(scores, k, mode)
    for score in scores:
        if not books.would_keep(torch.tensor(score)):
            kth, value = float(books.kth_score), float(comparable(torch.tensor(score), mode))
            assert value >= kth if mode == "min" else value <= kth


def test_nan_counts_as_the_worst() -> None:
    assert float(comparable(torch.tensor(math.nan), "min")) == math.inf
    assert float(comparable(torch.tensor(math.nan), "max")) == -math.inf


def test_books_never_change_so_that_a_failed_save_can_go_back() -> None:
    before = TopK(k=1)
    before.with_saved("a.ckpt", torch.tensor(1.0))
    assert not before.scores


def test_the_yaml_of_infinite_scores_is_yaml() -> None:
    text = TopK(k=-1, scores={"a": torch.tensor(math.inf), "b": torch.tensor(-math.inf)}).as_yaml()
    assert text == '"b": -.inf\n"a": .inf\n'


def test_another_mode_is_refused_by_name() -> None:
    with pytest.raises(MisconfigurationException, match="`mode` must be 'min' or 'max', not 'maxx'"):
        check_mode("maxx")
