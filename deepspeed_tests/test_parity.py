"""Two ranks under DeepSpeed's ZeRO train as one process does with the same batches."""

from typing import Any

import engine_ranks
import pytest
from language_model import trained_alone

from lt_interfaces.testing import run_in_processes

OFFLOADED = {"offload_optimizer": True}
CASES: list[dict[str, Any]] = [
    *({"stage": stage} for stage in (1, 2, 3)),
    *({"stage": stage, "micro": 2, "clip": 0.5} for stage in (1, 2, 3)),
    *({"stage": stage, **OFFLOADED, "clip": 0.5} for stage in (1, 2, 3)),
    *({"stage": stage, **OFFLOADED, "micro": 2, "clip": 0.5} for stage in (1, 2)),
    {"stage": 3, **OFFLOADED, "offload_parameters": True, "micro": 2, "clip": 0.5},
]


@pytest.fixture(scope="module")
def found() -> list[list[tuple[float, float, float]]]:
    first, second = run_in_processes(engine_ranks.parity, CASES, 20, timeout_seconds=280)
    assert [[loss for loss, *_ in steps] for steps in first] == [[loss for loss, *_ in steps] for steps in second]
    return first


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_losses_are_those_of_one_process(found: list[list[tuple[float, float, float]]], case: int) -> None:
    expected = [loss for loss, _ in trained_alone(20, clip=CASES[case].get("clip"))]
    assert [loss for loss, *_ in found[case]] == pytest.approx(expected, rel=0, abs=1e-5)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_norms_are_those_of_one_process(found: list[list[tuple[float, float, float]]], case: int) -> None:
    expected = [alone for *_, alone in found[case]]
    assert [norm for _, norm, _ in found[case]] == pytest.approx(expected, rel=1e-6)
    assert min(expected) > 0.5  # or nothing would have been clipped
