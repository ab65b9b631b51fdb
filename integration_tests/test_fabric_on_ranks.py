"""A loop of one's own on two processes: gradients, methods that run through the strategy, seeds, files."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fabric_ranks import everything, load

from lt_fabric import Fabric
from lt_interfaces.testing.ranks import run_in_processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fabric")


@cache
def on_ranks(folder: Path) -> list[dict[str, Any]]:
    """Do everything in one job, as starting its processes is what takes time."""
    return run_in_processes(everything, str(folder), timeout_seconds=100)


def test_gradients_are_the_mean_over_ranks_whatever_way_they_are_made(folder: Path) -> None:
    for rank in on_ranks(folder):
        assert all(rank["gradients"].values()), rank["gradients"]


def test_modules_begin_with_the_weights_of_rank_0(folder: Path) -> None:
    assert all(rank["weights agree"] for rank in on_ranks(folder))


def test_use_before_launch_and_methods_past_the_strategy_are_refused(folder: Path) -> None:
    for rank in on_ranks(folder):
        assert "call `fabric.launch()` first" in rank["before launch"]
        assert "mark_forward_method('both')" in rank["unmarked method"]


def test_a_seed_drawn_at_random_is_the_same_on_all_ranks(folder: Path) -> None:
    first, second = on_ranks(folder)
    assert first["seed"] == second["seed"]
    assert first["seed"][0] != first["seed"][1]  # each is drawn anew
    assert sorted(first["samples"] + second["samples"]) == list(range(12))


def test_state_saved_on_two_ranks_loads_on_two_and_on_one(folder: Path) -> None:
    first, second = on_ranks(folder)
    assert first["written"] == second["written"]
    assert first["read"] == second["read"] == load(Fabric(accelerator="cpu"), str(folder))
    weights, _, steps = first["read"]
    assert (weights, steps) == (first["written"], 1)
