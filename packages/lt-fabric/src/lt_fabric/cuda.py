"""NVIDIA GPUs (and AMD's, which torch calls CUDA too)."""

import os
from collections.abc import Mapping
from typing import ClassVar

import torch

from lt_fabric.device_indices import parse_indices
from lt_interfaces import Accelerator
from lt_interfaces.rank_zero import rank_zero_info

_FIRST_WITH_TENSOR_FLOAT_32 = 8
"""Major compute capability of the Ampere generation."""


class CUDAAccelerator(Accelerator):
    """Trains on CUDA GPUs; asking about them doesn't initialise CUDA, so processes may still be forked."""

    name: ClassVar[str] = "cuda"
    auto_priority: ClassVar[int] = 20

    def is_available(self) -> bool:
        return torch.cuda.device_count() > 0

    def auto_device_count(self) -> int:
        return torch.cuda.device_count()

    def parse_devices(self, devices: int | str | list[int]) -> list[torch.device]:
        available = range(torch.cuda.device_count())
        return [torch.device("cuda", index) for index in parse_indices(devices, available=available, kind="CUDA")]

    def setup_device(self, device: torch.device) -> None:
        if device.type != "cuda":
            message = f"The CUDA accelerator can't set up the device `{device}`."
            raise ValueError(message)
        # The order in which nvidia-smi lists them, and in which they were counted before CUDA was initialised.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        _advise_matmul_precision(device)
        torch.cuda.set_device(device)
        torch.cuda.empty_cache()

    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        return dict(torch.cuda.memory_stats(device))

    def teardown(self) -> None:
        torch.cuda.empty_cache()


def _advise_matmul_precision(device: torch.device) -> None:
    """Tell once that faster matrix products are there for the asking; results differ, so it's the user's choice."""
    is_untouched = torch.get_float32_matmul_precision() == "highest"
    if not is_untouched or torch.cuda.get_device_capability(device)[0] < _FIRST_WITH_TENSOR_FLOAT_32:
        return
    rank_zero_info(
        "%s has Tensor Cores: `torch.set_float32_matmul_precision('high')` (or 'medium') makes float32 matrix products "
        "faster and less precise.",
        torch.cuda.get_device_name(device),
    )
