"""The progress bar that rich draws."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lt_callbacks.batch_progress_bar import BatchProgressBar
from lt_callbacks.progress_display import LineDisplay, ProgressDisplay
from lt_callbacks.rich_theme import RichProgressBarTheme
from lt_callbacks.run import Run

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


class RichProgressBar(BatchProgressBar):
    """A bar per epoch and per evaluated loader, drawn by rich; in output that isn't a terminal, plain lines.

    It's the Trainer's default bar.

    Args:
        refresh_rate: batches between two refreshes, at most four refreshes and at least one per second; 0: no bar.
        leave: keep the bar of each epoch rather than only the last one's.
        theme: its styles.
        console_kwargs: arguments for rich's ``Console``.

    >>> RichProgressBar(theme=RichProgressBarTheme(metrics_format=".5f")).refresh_rate
    100
    """

    def __init__(
        self,
        refresh_rate: int = 100,
        leave: bool = False,
        theme: RichProgressBarTheme | None = None,
        console_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(refresh_rate, leave)
        self.theme = theme or RichProgressBarTheme()
        self.console_kwargs = dict(console_kwargs or {})

    def configure_columns(self, trainer: Run) -> Sequence["ProgressColumn"]:
        """Return the columns between the bar's description and its metrics; override it for your own."""
        # Deferred: rich takes longer to load than the rest of this package.
        from lt_callbacks.rich_display import default_columns

        return default_columns(self.theme)

    def make_display(self, trainer: Run) -> ProgressDisplay:
        # Deferred: rich takes longer to load than the rest of this package.
        from rich.console import Console

        from lt_callbacks.rich_display import RichDisplay  # brings rich too

        console = Console(**self.console_kwargs)
        if not (console.is_terminal or console.is_jupyter):
            return LineDisplay(console.file)
        return RichDisplay(console, self.configure_columns(trainer), self.theme)

    def epoch_description(self, trainer: Run) -> str:
        last = trainer.max_epochs
        return f"Epoch {trainer.current_epoch}" + ("" if last is None or last < 0 else f"/{last - 1}")
