import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit

from lt_core.specs.optimization import resolve_optimization
from lt_core.torch_flags import torch_flags

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def flags() -> tuple[bool, bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(WORKSPACE),
    )


@pytest.fixture(autouse=True)
def _same_before_and_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = flags()
    yield
    assert flags() == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (False, False, False, None)),
        ({"deterministic": True}, (True, False, False, ":4096:8")),
        ({"deterministic": "warn"}, (True, True, False, ":4096:8")),
        ({"deterministic": False}, (False, False, False, None)),
        ({"benchmark": True}, (False, False, True, None)),
        ({"benchmark": False}, (False, False, False, None)),
    ],
)
def test_flags_hold_for_the_time_of_a_run(arguments: dict[str, Any], expected: Any) -> None:
    with torch_flags(resolve_optimization(**arguments)):
        assert flags() == expected


def test_what_the_process_had_is_left_or_switched_off_and_comes_back() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    try:
        with torch_flags(resolve_optimization()):
            assert flags() == (True, True, True, None)
        with torch_flags(resolve_optimization(deterministic=False, benchmark=False)):
            assert flags()[:3] == (False, False, False)
        with torch_flags(resolve_optimization(deterministic=True)):
            assert flags()[:3] == (True, False, False)
        assert flags() == (True, True, True, None)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def test_a_workspace_of_the_users_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with torch_flags(resolve_optimization(deterministic=True)):
        assert os.environ[WORKSPACE] == ":16:8"
    assert os.environ[WORKSPACE] == ":16:8"
    monkeypatch.delenv(WORKSPACE)


def test_a_failure_restores_them_too() -> None:
    with pytest.raises(KeyError), torch_flags(resolve_optimization(deterministic=True, benchmark=False)):
        raise KeyError


def test_a_run_sees_them_and_leaves_no_trace(tmp_path: Path) -> None:
    class Looks(Net):
        def on_train_start(self) -> None:
            self.seen = flags()

    module = Looks()
    fit(tmp_path, module, deterministic=True)
    assert module.seen == (True, False, False, ":4096:8")
