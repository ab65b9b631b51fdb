import pytest
import torch

from lt_fabric.mps import MPSAccelerator
from lt_interfaces import MisconfigurationException
from lt_interfaces.testing import AcceleratorContract


class TestMPSAccelerator(AcceleratorContract):
    @pytest.fixture
    def accelerator(self) -> MPSAccelerator:
        return MPSAccelerator()


def test_a_variable_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "arm")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert MPSAccelerator().is_available()
    assert MPSAccelerator().parse_devices(1) == [torch.device("mps", 0)]
    monkeypatch.setenv("DISABLE_MPS", "1")
    assert not MPSAccelerator().is_available()


def test_a_second_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "arm")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(MisconfigurationException, match=r"lacks \[1\]"):
        MPSAccelerator().parse_devices(2)


def test_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ValueError, match="`cpu`"):
        MPSAccelerator().setup_device(torch.device("cpu"))
