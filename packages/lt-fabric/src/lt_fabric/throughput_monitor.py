"""Logs the throughput of a loop of your own."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from lt_interfaces.peak_flops import get_available_flops
from lt_interfaces.throughput import Throughput


class _Loop(Protocol):
    """What's needed of Fabric."""

    @property
    def device(self) -> torch.device:
        """Of this process."""

    @property
    def world_size(self) -> int:
        """Number of processes."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the precision's format."""

    def init_tensor(self) -> AbstractContextManager[Any]:
        """Create tensors in the precision's format."""

    def log_dict(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics."""


class ThroughputMonitor:
    """Computes the rates of `lt_interfaces.throughput.Throughput` and logs them with Fabric, on rank 0.

    What the device can do at best is looked up, for ``device/mfu``, unless ``available_flops`` is given.

    Args:
        fabric: whose loggers get the rates.
        kwargs: of `Throughput`, but for ``world_size``, which Fabric knows.

    Example::

        monitor = ThroughputMonitor(fabric, window_size=50)
        for batch_idx, batch in enumerate(loader, start=1):
            ...
            monitor.update(time=time.perf_counter() - started, batches=batch_idx, samples=batch_idx * batch_size)
            monitor.compute_and_log()
    """

    def __init__(self, fabric: _Loop, **kwargs: Any) -> None:
        if kwargs.get("available_flops") is None and fabric.device.type == "cuda":
            kwargs["available_flops"] = get_available_flops(fabric.device, _computed_in(fabric))
        self._throughput = Throughput(world_size=fabric.world_size, **kwargs)
        self._fabric = fabric
        self.step = -1
        """Of the rates that were logged last."""

    def update(self, **reading: Any) -> None:
        """Take a reading; see `Throughput.update`."""
        if self._fabric.is_global_zero:
            self._throughput.update(**reading)

    def compute(self) -> dict[str, int | float]:
        """Return counts and rates; none on other ranks than 0."""
        return self._throughput.compute()

    def compute_and_log(self, step: int | None = None) -> dict[str, int | float]:
        """Return counts and rates, and log them.

        Args:
            step: what they're logged as; by default the step after the last one, from 0.
        """
        self.step = self.step + 1 if step is None else step
        rates = self.compute()
        if self._fabric.is_global_zero:
            self._fabric.log_dict(rates, step=self.step)
        return rates

    def reset(self) -> None:
        """Forget all readings."""
        self._throughput.reset()


def _computed_in(fabric: _Loop) -> torch.dtype:
    """Return the format that the precision computes in."""
    with fabric.autocast():
        if torch.is_autocast_enabled("cuda"):
            return torch.get_autocast_dtype("cuda")
    with fabric.init_tensor():
        return torch.empty(0).dtype
