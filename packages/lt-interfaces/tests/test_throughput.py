"""Rates of a window of readings. Numbers were observed from Lightning 2.6.6."""

from typing import Any

import pytest
import torch
from torch import nn

from lt_interfaces.throughput import Throughput, measure_flops


def test_rates_come_once_the_window_is_full() -> None:
    throughput = Throughput(window_size=3)
    for step in range(1, 6):
        throughput.update(time=step * 2.0, batches=step, samples=step * 4)
        computed = throughput.compute()
        assert (computed["time"], computed["batches"], computed["samples"]) == (step * 2.0, step, step * 4)
        assert ("device/batches_per_sec" in computed) == (step >= 3)
    assert computed == {
        "time": 10.0,
        "batches": 5,
        "samples": 20,
        "device/batches_per_sec": 0.5,
        "device/samples_per_sec": 2.0,
    }


def test_several_processes_count_together() -> None:
    throughput = Throughput(available_flops=1e3, world_size=2, window_size=3, separator="|")
    for step in range(1, 5):
        throughput.update(time=step * 2.0, batches=step, samples=step * 4, lengths=step * 10, flops=100)
    assert throughput.compute() == {
        "time": 8.0,
        "batches": 4,
        "samples": 16,
        "lengths": 40,
        "device|batches_per_sec": 0.5,
        "device|samples_per_sec": 2.0,
        "batches_per_sec": 1.0,
        "samples_per_sec": 4.0,
        "device|items_per_sec": 5.0,
        "items_per_sec": 10.0,
        "flops_per_sec": 100.0,
        "device|flops_per_sec": 50.0,
        "device|mfu": 0.05,
    }


def test_one_process_has_its_own_rates_only() -> None:
    throughput = Throughput(window_size=2, available_flops=100)
    for step in (1, 2):
        throughput.update(time=step, batches=step, samples=step * 2, lengths=step * 6, flops=10)
    rates = {name: value for name, value in throughput.compute().items() if name.startswith("device")}
    assert rates == {
        "device/batches_per_sec": 1.0,
        "device/samples_per_sec": 2.0,
        "device/items_per_sec": 6.0,
        "device/flops_per_sec": 10.0,
        "device/mfu": 0.1,
    }


def test_nothing_is_known_before_the_first_reading_and_after_a_reset() -> None:
    throughput = Throughput()
    assert throughput.compute() == {}
    throughput.update(time=1, batches=1, samples=1)
    throughput.reset()
    assert throughput.compute() == {}
    throughput.update(time=1, batches=1, samples=1)


@pytest.mark.parametrize(
    ("reading", "name"),
    [
        ({"time": 1.0, "batches": 3, "samples": 9}, "time"),
        ({"time": 3.0, "batches": 2, "samples": 9}, "batches"),
        ({"time": 3.0, "batches": 3, "samples": 4}, "samples"),
        ({"time": 3.0, "batches": 9, "samples": 8}, "samples"),
        ({"time": 3.0, "batches": 3, "samples": 8, "lengths": 9}, "lengths"),
        ({"time": 3.0, "batches": 3, "samples": 8, "flops": 9}, "flops"),
    ],
)
def test_a_reading_that_cant_be_is_refused_and_not_taken(reading: dict[str, Any], name: str) -> None:
    throughput = Throughput(window_size=2)
    throughput.update(time=2.0, batches=2, samples=4)
    with pytest.raises(ValueError, match=f"`{name}`"):
        throughput.update(**reading)
    assert throughput.compute() == {"time": 2.0, "batches": 2, "samples": 4}


def test_items_are_no_fewer_than_samples() -> None:
    with pytest.raises(ValueError, match="`lengths`"):
        Throughput().update(time=1.0, batches=1, samples=3, lengths=2)


def test_a_window_of_one_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="`window_size`"):
        Throughput(window_size=1)
    with pytest.raises(ValueError, match="`world_size`"):
        Throughput(world_size=0)


def test_flops_of_forward_and_backward_are_counted() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    batch = torch.randn(3, 4)
    assert measure_flops(model, lambda: model(batch)) == 288
    assert measure_flops(model, lambda: model(batch), lambda output: output.sum()) == 672


def test_gradients_are_afterwards_as_before() -> None:
    model, batch = nn.Linear(4, 1), torch.ones(3, 4)
    model.weight.grad = gradient = torch.full((1, 4), 7.0)
    measure_flops(model, lambda: model(batch), lambda output: output.sum())
    assert model.weight.grad is gradient
    assert gradient.tolist() == [[7.0] * 4]
    assert model.bias.grad is None
