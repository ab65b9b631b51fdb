"""The GPU of Apple's own chips."""

import os
import platform
from collections.abc import Mapping
from typing import ClassVar

import torch

from lt_fabric.device_indices import parse_indices
from lt_interfaces import Accelerator


class MPSAccelerator(Accelerator):
    """Trains on the one GPU of an Apple chip; the variable ``DISABLE_MPS=1`` hides it."""

    name: ClassVar[str] = "mps"
    auto_priority: ClassVar[int] = 10

    def is_available(self) -> bool:
        is_apple_chip = platform.processor() in ("arm", "arm64")
        return is_apple_chip and os.environ.get("DISABLE_MPS") != "1" and torch.backends.mps.is_available()

    def auto_device_count(self) -> int:
        return 1 if self.is_available() else 0

    def parse_devices(self, devices: int | str | list[int]) -> list[torch.device]:
        available = range(self.auto_device_count())
        return [torch.device("mps", index) for index in parse_indices(devices, available=available, kind="MPS")]

    def setup_device(self, device: torch.device) -> None:
        if device.type != "mps":
            message = f"The MPS accelerator can't set up the device `{device}`."
            raise ValueError(message)

    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        return {
            "mps_allocated_bytes": torch.mps.current_allocated_memory(),
            "mps_driver_allocated_bytes": torch.mps.driver_allocated_memory(),
        }

    def teardown(self) -> None:
        """Give back cached memory."""
        if self.is_available():
            torch.mps.empty_cache()
