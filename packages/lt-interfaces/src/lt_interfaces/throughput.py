"""Throughput of a training: batches, samples, items and floating-point operations per second, over the last steps."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class _Reading(NamedTuple):
    """What was counted up to one moment; of FLOPs, what came since the reading before."""

    time: float
    batches: int
    samples: int
    lengths: int | None
    flops: int | None


class Throughput:
    """Turns readings of counters into rates, once there are enough of them.

    The rates are those between the first and the last reading of a window. Each rate is that of this process, under
    ``device/``; with several processes those of all together come without it, on the assumption that they're alike.

    Args:
        available_flops: FLOPs per second that the device can do at best, for ``device/mfu`` (model FLOPs utilization).
        world_size: number of processes.
        window_size: how many readings the rates are taken over, at least 2.
        separator: between ``device`` and a rate's name.

    Raises:
        ValueError: for a ``window_size`` below 2 or a ``world_size`` below 1.

    >>> throughput = Throughput(window_size=2)
    >>> throughput.update(time=1.0, batches=1, samples=8)
    >>> throughput.update(time=3.0, batches=2, samples=16)
    >>> throughput.compute()["device/samples_per_sec"]
    4.0
    """

    def __init__(
        self, available_flops: float | None = None, world_size: int = 1, window_size: int = 100, separator: str = "/"
    ) -> None:
        if window_size < 2:
            message = f"`window_size` must be at least 2, as rates lie between two readings, not {window_size!r}."
            raise ValueError(message)
        if world_size < 1:
            message = f"`world_size` must be at least 1, not {world_size!r}."
            raise ValueError(message)
        self.available_flops = available_flops
        self.world_size = world_size
        self.separator = separator
        self._readings: deque[_Reading] = deque(maxlen=window_size)

    def update(
        self, *, time: float, batches: int, samples: int, lengths: int | None = None, flops: int | None = None
    ) -> None:
        """Take a reading; all but ``flops`` count from the beginning, and grow from one reading to the next.

        Args:
            time: seconds, on any clock.
            batches: how many this process has trained.
            samples: how many of these.
            lengths: sum of their lengths, for instance tokens; always or never.
            flops: floating-point operations since the reading before; always or never.

        Raises:
            ValueError: a count doesn't grow, there are fewer samples than batches or fewer items than samples, or
                ``lengths`` or ``flops`` come at some readings only.
        """
        reading = _Reading(time, batches, samples, lengths, flops)
        if samples < batches:
            message = f"`samples` ({samples}) can't be fewer than `batches` ({batches})."
            raise ValueError(message)
        if lengths is not None and lengths < samples:
            message = f"`lengths` ({lengths}) can't be less than `samples` ({samples})."
            raise ValueError(message)
        if self._readings:
            _check_growth(self._readings[-1], reading)
        self._readings.append(reading)

    def compute(self) -> dict[str, int | float]:
        """Return the last counts, and the rates where the window is full; nothing before the first reading."""
        if not self._readings:
            return {}
        first, last = self._readings[0], self._readings[-1]
        counts: dict[str, int | float] = {"time": last.time, "batches": last.batches, "samples": last.samples}
        if last.lengths is not None:
            counts["lengths"] = last.lengths
        if len(self._readings) < (self._readings.maxlen or 0):
            return counts
        seconds = last.time - first.time
        rates = {
            **self._rate("batches_per_sec", (last.batches - first.batches) / seconds),
            **self._rate("samples_per_sec", (last.samples - first.samples) / seconds),
        }
        if last.lengths is not None and first.lengths is not None:
            rates |= self._rate("items_per_sec", (last.lengths - first.lengths) / seconds)
        if last.flops is not None:
            flops_per_second = sum(reading.flops or 0 for reading in list(self._readings)[1:]) / seconds
            rates |= self._rate("flops_per_sec", flops_per_second)
            if self.available_flops:
                rates[f"device{self.separator}mfu"] = flops_per_second / self.available_flops
        return counts | rates

    def reset(self) -> None:
        """Forget all readings."""
        self._readings.clear()

    def _rate(self, name: str, value: float) -> dict[str, float]:
        own = {f"device{self.separator}{name}": value}
        return own | {name: value * self.world_size} if self.world_size > 1 else own


def _check_growth(before: _Reading, reading: _Reading) -> None:
    for name in ("time", "batches", "samples", "lengths", "flops"):
        old, new = getattr(before, name), getattr(reading, name)
        if (old is None) != (new is None):
            message = f"`{name}` was {old!r} at the last reading and is {new!r} now: give it always or never."
            raise ValueError(message)
        if name != "flops" and new is not None and new <= old:
            message = f"`{name}` must grow from one reading to the next, but was {old!r} and is {new!r} now."
            raise ValueError(message)


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Tensor], loss_fn: Callable[[Tensor], Tensor] | None = None
) -> int:
    """Count the floating-point operations of one forward, and of its backward where there's a loss.

    On the meta device this costs neither memory nor time. Gradients of the model's parameters are afterwards as before.

    Args:
        model: what's measured.
        forward_fn: runs the model and returns its output.
        loss_fn: makes a loss of the output; ``None``: forward only.

    >>> with torch.device("meta"):
    ...     model, batch = nn.Linear(4, 8), torch.randn(3, 4)
    >>> measure_flops(model, lambda: model(batch))
    192
    >>> measure_flops(model, lambda: model(batch), lambda output: output.sum())
    384
    """
    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.grad = None  # so that what's there isn't added to
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            output = forward_fn()
            if loss_fn is not None:
                torch.autograd.backward(loss_fn(output))
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient
    return counter.get_total_flops()
