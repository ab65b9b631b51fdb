import sys
from typing import Any

import pytest
from fabric_pretence import CPU, ManyAccelerator, ManyStrategy, hide, offer

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.device_choice import choose_devices
from lt_fabric.hardware import resolve_hardware
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import MisconfigurationException, Strategy
from lt_interfaces.errors import MissingPackageError

INSTALL = "pip install lt-strategies"


@pytest.fixture(autouse=True)
def _no_job_and_no_strategy_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    hide(monkeypatch, "strategies", "ddp")


def choose(strategy: Strategy | None = None, **arguments: Any) -> list[Any]:
    hardware = resolve_hardware(**arguments)
    return list(choose_devices(hardware, ManyAccelerator(), environment=LocalEnvironment(), strategy=strategy))


def test_auto_uses_one_of_several_and_says_how_to_use_all() -> None:
    with pytest.warns(UserWarning, match=rf"4 many devices.*{INSTALL}.*`devices=1`"):
        assert choose() == [CPU]


def test_one_device_asked_for_is_no_reason_to_warn() -> None:
    assert choose(devices=1) == [CPU]
    assert choose(SingleDeviceStrategy()) == [CPU]


@pytest.mark.parametrize(
    ("arguments", "named"), [({"devices": 2}, "`devices=2`"), ({"devices": 1, "num_nodes": 2}, "`num_nodes=2`")]
)
def test_several_processes_need_lt_strategies(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MissingPackageError, match=f"{named}.*{INSTALL}"):
        choose(**arguments)


def test_one_of_several_processes_started_from_outside_does_not_train_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MissingPackageError, match=f"job of 2 processes.*{INSTALL}"):
        choose(devices=1)


def test_a_strategy_for_one_device_may_run_in_each_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choose(SingleDeviceStrategy(), devices=1) == [CPU]


def test_several_devices_for_a_strategy_of_one_are_refused_with_both_names() -> None:
    with pytest.raises(MisconfigurationException, match=r"`devices=2`.*SingleDeviceStrategy.*'auto'"):
        choose(SingleDeviceStrategy(), devices=2)


def test_auto_uses_all_where_there_is_a_strategy_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(ManyStrategy()) == [CPU] * 4
    offer(monkeypatch, "strategies", ddp=ManyStrategy)
    assert choose() == [CPU] * 4
    assert choose(devices=3, num_nodes=2) == [CPU] * 3


def test_a_notebook_uses_one_of_several_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert choose(ManyStrategy()) == [CPU]
    assert choose(ManyStrategy(), devices=4) == [CPU] * 4


def test_auto_on_the_cpu_takes_a_process_for_each_that_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "strategies", ddp=ManyStrategy)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    hardware = resolve_hardware(accelerator="cpu")
    assert len(choose_devices(hardware, CPUAccelerator(), environment=LocalEnvironment(), strategy=None)) == 3
