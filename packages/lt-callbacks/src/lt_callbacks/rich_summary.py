"""Prints a summary with rich; imported only when a `RichModelSummary` prints."""

from rich.console import Console
from rich.table import Table

from lt_callbacks.model_summary import ModuleSummary
from lt_callbacks.summary_tables import footer, header, rows

_NO_LIMIT = 10_000
_RIGHT = ("Params", "FLOPs", "In sizes", "Out sizes")


def print_summary(summary: ModuleSummary, header_style: str) -> None:
    """Print the table of layers and the totals on standard output."""
    table = Table(header_style=header_style)
    for name in header(summary):
        table.add_column(name or " ", justify="right" if name in _RIGHT else "left", no_wrap=True)
    for row in rows(summary):
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    totals = Table.grid(padding=(0, 1))
    for name, value in footer(summary):
        totals.add_row(f"[bold]{name}[/]:", value)
    console = Console()
    if not console.is_terminal:
        # A log has no width: nothing is cut there.
        unlimited = console.options.update(width=_NO_LIMIT)
        console.width = max(console.width, console.measure(table, options=unlimited).maximum)
    console.print(table, totals, sep="\n")
