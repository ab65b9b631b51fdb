import pytest
import torch
from toy_parts import ToyAccelerator

from lt_interfaces.testing import AcceleratorContract


class TestToyAccelerator(AcceleratorContract):
    @pytest.fixture
    def accelerator(self) -> ToyAccelerator:
        return ToyAccelerator()


class Absent(ToyAccelerator):
    def is_available(self) -> bool:
        return False


class TestAbsentAccelerator(AcceleratorContract):
    """What needs a device is skipped, the rest is still checked."""

    @pytest.fixture
    def accelerator(self) -> Absent:
        return Absent()


class Greedy(ToyAccelerator):
    name = "gpu"

    def parse_devices(self, devices: int | str | list[int]) -> list[torch.device]:
        return [torch.device("cpu")]


def test_a_name_that_means_something_else_is_found_out() -> None:
    with pytest.raises(AssertionError):
        AcceleratorContract().test_has_a_name_of_its_own(Greedy())


def test_devices_made_of_nothing_are_found_out() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        AcceleratorContract().test_no_device_at_all_is_refused(Greedy())
