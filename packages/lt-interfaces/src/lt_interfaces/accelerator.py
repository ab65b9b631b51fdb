"""The contract of an accelerator: devices of one kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch


class Accelerator(ABC):
    """Devices of one kind, such as CPUs or CUDA GPUs: how many there are and how one is prepared.

    Found by name in the entry-point group ``lt.accelerators``. The runtime asks `is_available` and `parse_devices`
    before any process is launched (on the main process only), then calls `setup_device` once in every process, and
    `teardown` when the run ends. An accelerator holds no state of a run.
    """

    name: ClassVar[str]
    """The name it's registered under, e.g. ``"cpu"``."""

    auto_priority: ClassVar[int] = 0
    """Where ``accelerator="auto"`` tries it: the available accelerator with the highest priority is taken."""

    @abstractmethod
    def is_available(self) -> bool:
        """Say whether this machine has at least one such device."""

    @abstractmethod
    def auto_device_count(self) -> int:
        """Return how many devices ``devices="auto"`` stands for."""

    @abstractmethod
    def parse_devices(self, devices: int | str | list[int]) -> list[torch.device]:
        """Turn the argument ``devices`` (never ``"auto"``) into the devices it names, in order.

        Raises:
            MisconfigurationException: for a number or index this machine doesn't have.
            TypeError: for a form this kind of device doesn't take.
        """

    @abstractmethod
    def setup_device(self, device: torch.device) -> None:
        """Prepare the one device that this process will use; called in every process, before anything is moved."""

    @abstractmethod
    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        """Return what can be measured of the device now, by name (bytes, percent or counts, as the name says)."""

    @abstractmethod
    def teardown(self) -> None:
        """Give back what `setup_device` took, e.g. cached memory."""
