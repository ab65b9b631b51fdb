"""A checkpoint of another model is refused on all ranks, saying what doesn't fit."""

import tempfile
from functools import cache

import pytest
from bad_sharded_ranks import what_is_said

from lt_interfaces.testing.ranks import run_in_processes


@cache
def said() -> list[dict[tuple[str, str], str]]:
    with tempfile.TemporaryDirectory() as folder:
        return run_in_processes(what_is_said, folder, timeout_seconds=110)


@pytest.mark.parametrize("layout", ["fsdp", "fsdp, sharded state"])
def test_layers_that_the_checkpoint_lacks_are_named(layout: str) -> None:
    for of_rank in said():
        assert "The weights don't fit" in of_rank[layout, "blocks"]
        assert "`model.blocks.1." in of_rank[layout, "blocks"]


@pytest.mark.parametrize("layout", ["fsdp", "fsdp, sharded state"])
def test_layers_of_another_shape_are_named_with_both_shapes(layout: str) -> None:
    for of_rank in said():
        assert "`model.embedding.weight` (256, 128) instead of (256, 64)" in of_rank[layout, "width"]
