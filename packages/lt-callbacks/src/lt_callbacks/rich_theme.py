"""Styles of the rich progress bar."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RichProgressBarTheme:
    """The styles of a `RichProgressBar`, in rich's words (``"bold magenta"``, ``"#6206E0"``).

    >>> RichProgressBarTheme(metrics="green").metrics
    'green'
    """

    description: str = ""
    progress_bar: str = "#6206E0"
    progress_bar_finished: str = "#6206E0"
    progress_bar_pulse: str = "#6206E0"
    """The bar over batches of unknown number."""
    batch_progress: str = ""
    time: str = "dim"
    processing_speed: str = "dim underline"
    metrics: str = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"
    """How numbers are written."""
