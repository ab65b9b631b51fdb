"""Draws bars with tqdm; imported only when a `TQDMProgressBar` is used."""

import math
import sys
from typing import Any, TextIO

from tqdm.auto import tqdm
from tqdm.std import tqdm as terminal_tqdm

from lt_callbacks.progress_display import Bar, Metrics, ProgressDisplay, format_value


def draws_bars(stream: TextIO) -> bool:
    """Whether bars can be drawn: in a terminal, or in a notebook, which tqdm recognises."""
    return stream.isatty() or (tqdm is not terminal_tqdm and "ipykernel" in sys.modules)


class TqdmDisplay(ProgressDisplay):
    """One tqdm bar for training and one for evaluation, on standard output."""

    def __init__(self, position: int = 0) -> None:
        self._position = position
        self._bars: dict[Bar, Any] = {}  # tqdm's classes for terminals and notebooks have no common typed base

    def open(self, bar: Bar, description: str, total: float) -> None:
        self._bars[bar] = tqdm(
            desc=description,
            total=None if math.isinf(total) else total,
            position=self._position + bar.value,
            dynamic_ncols=True,
            file=sys.stdout,
            leave=True,
        )

    def refresh(self, bar: Bar, done: int, metrics: Metrics) -> None:
        drawn = self._bars[bar]
        drawn.n = done
        drawn.set_postfix_str(", ".join(f"{name}={format_value(value)}" for name, value in metrics.items()))

    def close(self, bar: Bar, *, keep: bool) -> None:
        drawn = self._bars.pop(bar)
        drawn.leave = keep
        drawn.close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        separator = kwargs.pop("sep", " ")
        tqdm.write(separator.join(map(str, args)), **kwargs)

    def stop(self) -> None:
        for bar in list(self._bars):
            self.close(bar, keep=True)
