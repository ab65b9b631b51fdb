"""Draws bars with tqdm; imported only when a `TQDMProgressBar` is used."""

import math
import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm.auto import tqdm
from tqdm.std import tqdm as terminal_tqdm

from lt_callbacks.progress_display import Bar, Metrics, ProgressDisplay, format_value


def draws_bars(stream: TextIO) -> bool:
    """Whether bars can be drawn: in a terminal, or in a notebook, which tqdm recognises."""
    return stream.isatty() or (tqdm is not terminal_tqdm and "ipykernel" in sys.modules)


def new_bar(description: str, position: int) -> Any:
    """Return a tqdm bar on standard output; tqdm's classes for terminals and notebooks have no common typed base."""
    return tqdm(desc=description, position=position, dynamic_ncols=True, file=sys.stdout, leave=True)


def silent_bar() -> Any:
    """Return a tqdm bar that takes everything and shows nothing."""
    return terminal_tqdm(disable=True)


class TqdmDisplay(ProgressDisplay):
    """One tqdm bar for training and one for evaluation, on standard output.

    Args:
        make: returns a bar that's open, with any text before it.
    """

    def __init__(self, make: Callable[[Bar], Any]) -> None:
        self._make = make
        self._bars: dict[Bar, Any] = {}

    def drawn(self, bar: Bar) -> Any:
        """Return the tqdm bar that's open, one that shows nothing where none is."""
        return self._bars[bar] if bar in self._bars else silent_bar()

    def open(self, bar: Bar, description: str, total: float) -> None:
        drawn = self._bars[bar] = self._make(bar)
        drawn.total = None if math.isinf(total) else total
        drawn.set_description(description)

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
