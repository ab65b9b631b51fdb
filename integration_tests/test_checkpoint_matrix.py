"""What one layout saved, every other one goes on from."""

import tempfile
from functools import cache

import pytest
from checkpoint_matrix import LAYOUTS, SHARDED, Continued, matrix, says_the_same_consolidated

# Jobs of up to four processes, on machines with two cores that do other things, too.
pytestmark = pytest.mark.timeout(300)


@cache
def results() -> tuple[dict[tuple[str, str], Continued], dict[str, bool]]:
    with tempfile.TemporaryDirectory() as folder:
        found = {(one.saved, one.loaded): one for one in matrix(folder)}
        return found, {layout: says_the_same_consolidated(folder, layout) for layout in SHARDED}


def found() -> dict[tuple[str, str], Continued]:
    return results()[0]


@pytest.mark.parametrize("loaded", LAYOUTS)
@pytest.mark.parametrize("saved", LAYOUTS)
def test_the_next_losses_are_those_of_the_run_that_was_saved(saved: str, loaded: str) -> None:
    assert found()[saved, loaded].difference <= 1e-6


@pytest.mark.parametrize("layout", LAYOUTS)
def test_under_the_same_layout_they_are_so_to_the_bit(layout: str) -> None:
    assert found()[layout, layout].difference == 0


@pytest.mark.parametrize("layout", SHARDED)
def test_a_file_made_of_shards_is_gone_on_from_as_the_shards_are(layout: str) -> None:
    assert results()[1][layout]
