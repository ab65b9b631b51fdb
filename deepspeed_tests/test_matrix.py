"""What DeepSpeed's stages saved, others go on from, and the other way round."""

import tempfile
from functools import cache

import pytest
from deepspeed_matrix import PAIRS, matrix

# Two jobs that make fifty runs between them, on machines with two cores that do other things, too.
pytestmark = pytest.mark.timeout(550)


@cache
def found() -> dict[tuple[str, str], float]:
    with tempfile.TemporaryDirectory() as folder:
        return {(one.saved, one.loaded): one.difference for one in matrix(folder)[0]}


@pytest.mark.parametrize(("saved", "loaded"), PAIRS)
def test_the_next_losses_are_those_of_the_run_that_was_saved(saved: str, loaded: str) -> None:
    assert found()[saved, loaded] <= 1e-6
