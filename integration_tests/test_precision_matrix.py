"""Every precision under every layout works as the committed table says; `hatch run precision-matrix` makes it anew."""

import re
from pathlib import Path

import pytest
from precision_matrix import EVERY_WAY, LAYOUTS, TRAINING, WITHOUT_GPU, Found, Way, matrix, outcome_of, run
from serving_ranks import serving

PAGE = Path(__file__).parent.parent / "docs/precision-matrix.md"

# A job of two processes, on machines with two cores that do other things, too.
pytestmark = pytest.mark.timeout(300)


def sampled() -> list[Way]:
    """Return for each precision under each layout two of the six ways to train, all six in turn, and the evaluation."""
    ways = [way for way in EVERY_WAY if way[2] == "evaluation"]
    cells = [(precision, layout) for precision in WITHOUT_GPU for layout in LAYOUTS]
    for number, cell in enumerate(cells):
        ways += [(*cell, *TRAINING[(2 * number + step) % len(TRAINING)]) for step in (0, 3)]
    return ways


def committed(precision: str) -> list[str]:
    """Return the cells of a precision's row."""
    row = re.search(rf"^\| {precision} \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE)
    assert row is not None, f"docs/precision-matrix.md has no row for {precision}"
    return [cell.strip() for cell in row[1].split("|")]


# one test, so that it's one job, however many workers share the tests
def test_every_precision_works_or_is_refused_as_the_table_says(tmp_path: Path) -> None:
    with serving(run, tmp_path, seconds=280) as ask:
        found = matrix(ask, sampled())
    columns = [(layout, is_training) for layout in LAYOUTS for is_training in (True, False)]
    for precision in WITHOUT_GPU:
        outcomes = [outcome_of(found, precision, layout, is_training=is_training) for layout, is_training in columns]
        assert (precision, outcomes) == (precision, committed(precision))
        assert set(outcomes) <= {"exact", "refused"}
    for (precision, *_), one in found.items():
        assert not one.refused or _names_a_way_out(one, precision), one.refused


def _names_a_way_out(one: Found, precision: str) -> bool:
    return f"{precision!r}" in one.refused and re.search("'32-true'|'bf16-mixed'", one.refused) is not None
