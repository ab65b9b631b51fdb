"""Draws bars with rich; imported only when a `RichProgressBar` is used."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from lt_callbacks.progress_display import Bar, Metrics, ProgressDisplay, format_value
from lt_callbacks.rich_theme import RichProgressBarTheme

_SECONDS_TO_SHOW = 0.25


class RichDisplay(ProgressDisplay):
    """All bars in one live area of the console, drawn only when asked: no thread redraws between batches."""

    # Drawing costs a millisecond or two: four times a second it stays below one percent.
    shortest_seconds = _SECONDS_TO_SHOW

    def __init__(self, console: Console, columns: Sequence[ProgressColumn], theme: RichProgressBarTheme) -> None:
        self._theme = theme
        self._progress = Progress(*columns, MetricsColumn(theme.metrics), console=console, auto_refresh=False)
        self._tasks: dict[Bar, TaskID] = {}

    def open(self, bar: Bar, description: str, total: float) -> None:
        self._progress.start()
        styled = f"[{self._theme.description}]{description}" if self._theme.description else description
        self._tasks[bar] = self._progress.add_task(styled, total=None if math.isinf(total) else total, metrics="")

    def refresh(self, bar: Bar, done: int, metrics: Metrics) -> None:
        spec = self._theme.metrics_format
        texts = (f"{name}: {format_value(value, spec)}" for name, value in metrics.items())
        shown = self._theme.metrics_text_delimiter.join(texts)
        self._progress.update(self._tasks[bar], completed=done, metrics=shown, refresh=True)

    def close(self, bar: Bar, *, keep: bool) -> None:
        task = self._tasks.pop(bar)
        if keep:
            self._progress.stop_task(task)
        else:
            self._progress.remove_task(task)
        if not self._tasks:
            self._progress.refresh()

    def print(self, *args: Any, **kwargs: Any) -> None:
        # While the live area is shown, rich puts what's printed above it.
        print(*args, **kwargs)  # noqa: T201  # it's what this method is for

    def stop(self) -> None:
        self._progress.stop()


class MetricsColumn(ProgressColumn):
    """The metrics of a bar, as they were last drawn."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self._style = style

    def render(self, task: Task) -> Text:
        return Text(task.fields["metrics"], style=self._style)


class BatchesColumn(ProgressColumn):
    """Batches done and their total, ``-`` when unknown."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self._style = style

    def render(self, task: Task) -> Text:
        total = "-" if task.total is None else int(task.total)
        return Text(f"{int(task.completed)}/{total}", style=self._style)


class TimeColumn(ProgressColumn):
    """Time spent and, where the total is known, time left."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self._style = style

    def render(self, task: Task) -> Text:
        return Text(f"{_clock(task.elapsed)} • {_clock(task.time_remaining)}", style=self._style)


class SpeedColumn(ProgressColumn):
    """Batches per second since the bar was opened."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self._style = style

    def render(self, task: Task) -> Text:
        speed = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{speed:.2f}it/s", style=self._style)


def default_columns(theme: RichProgressBarTheme) -> list[ProgressColumn]:
    """Return description, bar, batches, time and speed, in the theme's styles."""
    return [
        TextColumn("[progress.description]{task.description}"),
        BarColumn(
            complete_style=theme.progress_bar,
            finished_style=theme.progress_bar_finished,
            pulse_style=theme.progress_bar_pulse,
        ),
        BatchesColumn(theme.batch_progress),
        TimeColumn(theme.time),
        SpeedColumn(theme.processing_speed),
    ]


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=int(seconds)))
