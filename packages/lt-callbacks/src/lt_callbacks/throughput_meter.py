"""Counts the batches of one stage, with the times at which its device finished them."""

from time import perf_counter
from typing import Final, NamedTuple

import torch

from lt_interfaces.throughput import Throughput

_Moment = float | torch.cuda.Event
_READINGS_AT_ONCE: Final = 100
_SHORTEST: Final = 1e-7  # seconds; clocks are no finer, and two batches can't end at the same time


class _Batch(NamedTuple):
    ended: _Moment
    samples: int
    length: int | None
    flops: int | None


class ThroughputMeter:
    """Gives a `Throughput` its readings.

    A CUDA device says when it finished a batch by an event, which is read later: the host doesn't wait for each batch.

    Args:
        throughput: new.
        device: that does the work.
    """

    def __init__(self, throughput: Throughput, device: torch.device) -> None:
        self._throughput: Final = throughput
        self._device: Final = device
        self._unread: list[_Batch] = []
        self._last = self._now()
        self._seconds = 0.0
        self._read_batches = self._samples = self._length = 0

    @property
    def batches(self) -> int:
        """How many were counted."""
        return self._read_batches + len(self._unread)

    def count(self, *, samples: int, length: int | None, flops: int | None) -> None:
        """Count a batch whose work was just given to the device.

        Args:
            samples: in it.
            length: of them together; always or never.
            flops: that it took; always or never.
        """
        self._unread.append(_Batch(self._now(), samples, length, flops))
        if len(self._unread) >= _READINGS_AT_ONCE:
            self._read()

    def leave_out_time(self) -> None:
        """Leave out the time since the last batch, which was spent on something else."""
        self._read()
        self._last = self._now()

    def rates(self) -> dict[str, int | float]:
        """Return counts and rates; waits for the device."""
        self._read()
        return self._throughput.compute()

    def _read(self) -> None:
        for batch in self._unread:
            self._seconds += max(_seconds_between(self._last, batch.ended), _SHORTEST)
            self._last = batch.ended
            self._read_batches += 1
            self._samples += batch.samples
            self._length += batch.length or 0
            self._throughput.update(
                time=self._seconds,
                batches=self._read_batches,
                samples=self._samples,
                lengths=None if batch.length is None else self._length,
                flops=batch.flops,
            )
        self._unread.clear()

    def _now(self) -> _Moment:
        if self._device.type != "cuda":
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


def _seconds_between(first: _Moment, last: _Moment) -> float:
    if isinstance(first, torch.cuda.Event) and isinstance(last, torch.cuda.Event):
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000
    assert isinstance(first, float)  # one device has one kind of clock
    assert isinstance(last, float)
    return last - first
