"""The loader that Fabric hands out."""

from collections.abc import Iterator
from typing import Any

import torch

from lt_fabric.data.samplers import set_epoch
from lt_interfaces.moving import move_data_to_device


class FabricDataLoader:
    """A set-up loader: batches arrive on the device, and samplers hear which epoch begins.

    It isn't a `torch.utils.data.DataLoader`, but has all its attributes.

    Args:
        loader: what batches come from.
        device: where they go; ``None`` leaves them where they are.
    """

    def __init__(self, loader: Any, device: torch.device | None = None) -> None:
        self._loader = loader
        self._device = device
        self._epochs_started = 0

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # while being copied
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        set_epoch(self._loader, self._epochs_started)
        self._epochs_started += 1
        if self._device is None:
            yield from self._loader
            return
        for batch in self._loader:
            yield move_data_to_device(batch, self._device)


def unwrap_loader(loader: Any) -> tuple[Any, torch.device | None]:
    """Return what a loader's batches come from, and the device they go to where Fabric has set it up."""
    if isinstance(loader, FabricDataLoader):
        return loader._loader, loader._device
    return loader, None
