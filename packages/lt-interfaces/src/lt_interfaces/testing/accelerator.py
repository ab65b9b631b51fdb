"""What every accelerator promises."""

import pytest
import torch

from lt_interfaces.accelerator import Accelerator
from lt_interfaces.errors import MisconfigurationException


class AcceleratorContract:
    """Subclass it and override `accelerator`; where there's no such device, what needs one is skipped."""

    @pytest.fixture
    def accelerator(self) -> Accelerator:
        """Return the accelerator to check."""
        raise NotImplementedError

    @pytest.fixture
    def device(self, accelerator: Accelerator) -> torch.device:
        """Return the first device, set up."""
        if not accelerator.is_available():
            pytest.skip(f"this machine has no {accelerator.name} device")
        device = accelerator.parse_devices(1)[0]
        accelerator.setup_device(device)
        return device

    def test_has_a_name_of_its_own(self, accelerator: Accelerator) -> None:
        assert accelerator.name
        assert accelerator.name not in ("auto", "gpu")

    def test_says_where_auto_tries_it(self, accelerator: Accelerator) -> None:
        assert isinstance(accelerator.auto_priority, int)

    def test_availability_is_a_plain_answer(self, accelerator: Accelerator) -> None:
        assert accelerator.is_available() in (True, False)

    def test_auto_stands_for_devices_that_are_there(self, accelerator: Accelerator, device: torch.device) -> None:
        count = accelerator.auto_device_count()
        assert count >= 1
        assert len(accelerator.parse_devices(count)) == count

    def test_parsed_devices_come_in_order_starting_with_the_first(
        self, accelerator: Accelerator, device: torch.device
    ) -> None:
        assert accelerator.parse_devices(1) == [device]
        assert accelerator.parse_devices("1") == [device]

    def test_no_device_at_all_is_refused(self, accelerator: Accelerator) -> None:
        with pytest.raises(MisconfigurationException, match="devices"):
            accelerator.parse_devices(0)

    def test_a_form_that_names_no_devices_is_refused(self, accelerator: Accelerator) -> None:
        with pytest.raises(TypeError, match="devices"):
            accelerator.parse_devices(1.5)  # type: ignore[arg-type]  # the mistake under test

    def test_a_device_that_was_set_up_computes(self, device: torch.device) -> None:
        total = torch.ones(3, device=device).sum()
        assert total.device.type == device.type
        assert total.item() == 3

    def test_statistics_are_numbers_by_name(self, accelerator: Accelerator, device: torch.device) -> None:
        statistics = accelerator.get_device_stats(device)
        assert all(isinstance(name, str) and isinstance(value, int | float) for name, value in statistics.items())

    def test_can_be_set_up_again_after_teardown(self, accelerator: Accelerator, device: torch.device) -> None:
        accelerator.teardown()
        accelerator.teardown()
        accelerator.setup_device(device)
