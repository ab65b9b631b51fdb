"""What DeepSpeed shares out over ranks, and its own parts beside the engine."""

import engine_ranks
import pytest
from language_model import trained_alone

from lt_interfaces.testing import run_in_processes

pytestmark = pytest.mark.timeout(200)


def test_each_rank_holds_its_share_alone() -> None:
    for found in run_in_processes(engine_ranks.shares, [1, 2, 3], timeout_seconds=100):
        for stage, shares in zip((1, 2, 3), found, strict=True):
            assert shares["state"] <= 0.55
            assert shares["init"] <= (0.55 if stage == 3 else 1.01)


def test_deepspeeds_own_parts_work_in_its_engine() -> None:
    expected = [loss for loss, _ in trained_alone(5)]
    for found in run_in_processes(engine_ranks.with_parts_of_deepspeed, timeout_seconds=150):
        assert found["optimizer"] == pytest.approx(expected, rel=0, abs=1e-5)
        # its bias correction multiplies on from step to step, and begins with a power after a restart
        assert found["on"] == pytest.approx(found["again"], rel=0, abs=1e-5)
        for stage in (2, 3):
            assert found[f"recomputed {stage}"] == pytest.approx(expected, rel=0, abs=1e-5)
