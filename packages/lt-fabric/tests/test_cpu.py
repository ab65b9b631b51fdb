import sys

import pytest
import torch

from lt_fabric.cpu import CPUAccelerator
from lt_interfaces import MisconfigurationException
from lt_interfaces.errors import MissingPackageError
from lt_interfaces.testing import AcceleratorContract


class TestCPUAccelerator(AcceleratorContract):
    @pytest.fixture
    def accelerator(self) -> CPUAccelerator:
        return CPUAccelerator()


@pytest.mark.parametrize("devices", [3, "3"])
def test_devices_count_processes(devices: int | str) -> None:
    assert CPUAccelerator().parse_devices(devices) == [torch.device("cpu")] * 3


@pytest.mark.parametrize("devices", [-1, "-1", [0], [0, 1], "0,1", True, 1.0, "two", None])
def test_anything_but_a_count_is_refused(devices: object) -> None:
    with pytest.raises(TypeError, match="`devices` counts processes"):
        CPUAccelerator().parse_devices(devices)  # type: ignore[arg-type]  # the mistakes under test


@pytest.mark.parametrize("devices", [0, "0"])
def test_no_process_is_refused(devices: int | str) -> None:
    with pytest.raises(MisconfigurationException, match="no device at all"):
        CPUAccelerator().parse_devices(devices)


def test_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ValueError, match="meta"):
        CPUAccelerator().setup_device(torch.device("meta"))


def test_statistics_without_psutil_give_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingPackageError, match=r"pip install lt-fabric\[stats\]"):
        CPUAccelerator().get_device_stats(torch.device("cpu"))
