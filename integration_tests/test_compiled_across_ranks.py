"""Compiled steps train as uncompiled ones do, however the model is laid out, and break no graph of ours."""

import shutil
from functools import cache

import pytest
from compiled_ranks import Outcome, compare, train

from lt_interfaces.testing.ranks import run_in_processes

pytestmark = pytest.mark.timeout(300)
LAYOUTS = pytest.mark.parametrize("layout", ["ddp", "ddp, several buckets", "fsdp"])


@cache
def outcomes(layout: str) -> list[tuple[Outcome, Outcome, Outcome]]:
    """Return each rank's outcomes: uncompiled, compiled by the Trainer, compiled by the user."""
    width = 128 if "several" in layout else 32  # torch's first bucket holds a megabyte
    return run_in_processes(compare, layout, width, timeout_seconds=250)


@LAYOUTS
def test_ranks_with_compiled_steps_train_as_without(layout: str) -> None:
    for plain, *compiled in outcomes(layout):
        assert len(plain.losses) == 12
        for outcome in compiled:
            assert outcome.losses == pytest.approx(plain.losses, rel=0, abs=1e-6)
            assert outcome.logged == pytest.approx(plain.logged, rel=0, abs=1e-6)
            assert outcome.keys == plain.keys


def test_ranks_under_ddp_compile_each_step_once_and_again_for_the_short_batch() -> None:
    for _, *compiled in outcomes("ddp"):
        for outcome in compiled:
            assert outcome.breaks == {}
            assert outcome.graphs == 4  # two each of training and validation


def test_ddp_cuts_graphs_at_its_buckets() -> None:
    """torch does that, so that gradients travel while others are computed."""
    for _, *compiled in outcomes("ddp, several buckets"):
        for outcome in compiled:
            assert outcome.breaks == {}
            assert outcome.graphs > 4


def test_fsdp_breaks_graphs_at_its_units_alone() -> None:
    """torch's hooks gather the weights of a unit outside of graphs."""
    for _, *compiled in outcomes("fsdp"):
        for outcome in compiled:
            assert set(outcome.breaks) == {"Attempted to call function marked as skipped"}


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's inductor needs a C++ compiler on the CPU")
def test_torchs_own_compiler_trains_as_without() -> None:
    plain = train("single", world_size=1, backend=False, samples=12)
    compiled = train("single", world_size=1, backend="inductor", samples=12)
    assert compiled.breaks == {}
    assert compiled.losses == pytest.approx(plain.losses, rel=0, abs=1e-5)
    assert compiled.logged == pytest.approx(plain.logged, rel=0, abs=1e-4)
