"""The accelerator that every machine has."""

from collections.abc import Mapping
from typing import ClassVar

import torch

from lt_interfaces import Accelerator, MisconfigurationException
from lt_interfaces.errors import missing_package


class CPUAccelerator(Accelerator):
    """Trains on the CPU; ``devices`` counts processes.

    >>> CPUAccelerator().parse_devices(2)
    [device(type='cpu'), device(type='cpu')]
    """

    name: ClassVar[str] = "cpu"
    auto_priority: ClassVar[int] = 0

    def is_available(self) -> bool:
        return True

    def auto_device_count(self) -> int:
        return 1

    def parse_devices(self, devices: int | str | list[int]) -> list[torch.device]:
        count = int(devices) if isinstance(devices, str) and devices.strip().isdecimal() else devices
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            message = f"`devices` counts processes with `accelerator='cpu'`: a whole number above 0, not {devices!r}."
            raise TypeError(message)
        if count == 0:
            message = f"`devices={devices!r}` asks for no device at all. Give a number above 0, or 'auto'."
            raise MisconfigurationException(message)
        return [torch.device("cpu")] * count

    def setup_device(self, device: torch.device) -> None:
        if device.type != "cpu":
            message = f"The CPU accelerator can't set up the device `{device}`."
            raise ValueError(message)

    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        try:
            import psutil  # here: an optional dependency, needed for statistics only
        except ModuleNotFoundError as error:
            missing = missing_package("psutil", "Measuring the CPU", "lt-fabric[stats]")
            raise missing from error
        return {
            "cpu_percent": psutil.cpu_percent(),
            "cpu_vm_percent": psutil.virtual_memory().percent,
            "cpu_swap_percent": psutil.swap_memory().percent,
        }

    def teardown(self) -> None:
        """Do nothing: nothing was taken."""
