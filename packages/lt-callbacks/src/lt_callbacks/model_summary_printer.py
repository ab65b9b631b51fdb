"""Prints a summary of the module when fitting starts."""

from typing import Any, ClassVar

from lt_callbacks.model_summary import ModuleSummary, summarize
from lt_callbacks.run import Run
from lt_callbacks.summary_tables import plain_table
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_info
from lt_interfaces.roles import Role


class ModelSummary(Callback):
    """Prints layers, parameters and sizes of the module once, when fitting starts, on rank 0.

    Args:
        max_depth: levels of submodules that get a row; 0: print nothing, -1: all.

    Raises:
        MisconfigurationException: for another ``max_depth``.

    >>> ModelSummary(max_depth=-1).max_depth
    -1
    """

    role: ClassVar[Role | None] = Role.SUMMARY

    def __init__(self, max_depth: int = 1) -> None:
        if not isinstance(max_depth, int) or isinstance(max_depth, bool) or max_depth < -1:
            message = f"`max_depth` must be 0 (no summary), -1 (all levels) or a number of levels, not {max_depth!r}."
            raise MisconfigurationException(message)
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Run, pl_module: Any) -> None:
        if self.max_depth != 0 and trainer.is_global_zero:
            self.summarize(trainer, pl_module)

    def summarize(self, trainer: Run, pl_module: Any) -> None:
        """Print the summary."""
        self.show(summarize(pl_module, self.max_depth))

    def show(self, summary: ModuleSummary) -> None:
        """Print a summary; override it to show it elsewhere."""
        rank_zero_info("\n%s", plain_table(summary))


class RichModelSummary(ModelSummary):
    """Prints the summary as a table drawn by rich; it's the Trainer's default.

    Args:
        max_depth: levels of submodules that get a row; 0: print nothing, -1: all.
        header_style: the style of the table's first line, in rich's words.

    >>> RichModelSummary(header_style="bold").header_style
    'bold'
    """

    def __init__(self, max_depth: int = 1, header_style: str = "bold magenta") -> None:
        super().__init__(max_depth)
        self.header_style = header_style

    def show(self, summary: ModuleSummary) -> None:
        # Deferred: rich takes longer to load than the rest of this package.
        from lt_callbacks.rich_summary import print_summary

        print_summary(summary, self.header_style)
