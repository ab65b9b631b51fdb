"""Rates are logged on rank 0, with steps counted as Lightning counts them."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lt_fabric import Fabric
from lt_fabric.throughput_monitor import ThroughputMonitor


class Written:
    """A logger that keeps what it gets."""

    def __init__(self) -> None:
        self.lines: list[tuple[Mapping[str, Any], int | None]] = []

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.lines.append((dict(metrics), step))


def fabric_with(written: Written) -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, loggers=[written])
    fabric.launch()
    return fabric


def test_rates_are_logged_step_by_step() -> None:
    written = Written()
    monitor = ThroughputMonitor(fabric_with(written), window_size=2)
    for count in range(1, 4):
        monitor.update(time=count, batches=count, samples=count * 2, flops=10)
        computed = monitor.compute_and_log()
    assert computed == {"time": 3, "batches": 3, "samples": 6, "device/batches_per_sec": 1.0,
                        "device/samples_per_sec": 2.0, "device/flops_per_sec": 10.0}  # fmt: skip
    monitor.compute_and_log(step=77)
    monitor.compute_and_log()
    assert [step for _, step in written.lines] == [0, 1, 2, 77, 78]
    assert written.lines[2][0] == computed
    monitor.reset()
    assert monitor.compute() == {}


def test_other_ranks_log_nothing() -> None:
    class OfRank1:
        device, world_size, is_global_zero = torch.device("cpu"), 2, False

    monitor = ThroughputMonitor(OfRank1())  # type: ignore[arg-type]
    monitor.update(time=1, batches=1, samples=1)
    assert monitor.compute_and_log() == {}


def test_what_was_given_is_what_the_device_can_do() -> None:
    monitor = ThroughputMonitor(fabric_with(Written()), window_size=2, available_flops=100)
    for count in (1, 2):
        monitor.update(time=count, batches=count, samples=count, flops=10)
    assert monitor.compute()["device/mfu"] == pytest.approx(0.1)


@pytest.mark.gpu
def test_what_the_device_can_do_is_looked_up() -> None:
    fabric = Fabric(accelerator="cuda", devices=1, precision="bf16-mixed")
    fabric.launch()
    monitor = ThroughputMonitor(fabric, window_size=2)
    for count in (1, 2):
        monitor.update(time=count, batches=count, samples=count, flops=10)
    assert monitor.compute()["device/mfu"] > 0
