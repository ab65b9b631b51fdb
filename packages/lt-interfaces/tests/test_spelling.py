import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_interfaces.spelling import did_you_mean, edit_distance

words = st.text(alphabet="abc", max_size=6)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("train", "trian", 1),
        ("kitten", "sitting", 3),
        ("epochs", "epoch", 1),
        ("ab", "cd", 2),
    ],
)
def test_known_distances(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance


@settings(deadline=None)
@given(words, words)
def test_distance_is_symmetric_and_zero_only_for_equal_words(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@settings(deadline=None)
@given(st.text(min_size=2, max_size=8), st.integers(0, 6))
def test_one_swap_of_neighbours_costs_at_most_one(word: str, at: int) -> None:
    i = at % (len(word) - 1)
    swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    assert edit_distance(word, swapped) <= 1


def test_suggests_the_nearest_name_whatever_its_case() -> None:
    assert did_you_mean("Max_Epoch", ["max_steps", "max_epochs"]) == " Did you mean `max_epochs`?"


@pytest.mark.parametrize("word", ["zzz", "", "a"])
def test_suggests_nothing_for_a_far_or_tiny_word(word: str) -> None:
    assert did_you_mean(word, ["cpu", "cuda", "b"]) == ""


def test_suggests_nothing_without_candidates() -> None:
    assert did_you_mean("cpu", []) == ""
