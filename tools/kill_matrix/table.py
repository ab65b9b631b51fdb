"""The result as a Markdown table."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

from kill_matrix.runs import Verdict

BEGIN = "<!-- kill-matrix: begin -->"
END = "<!-- kill-matrix: end -->"


def table(verdicts: Sequence[Verdict], seed: int) -> str:
    """Return one row per cell, and a line that sums up."""
    lines = ["| cell | kills | began after batch | result |", "| --- | ---: | --- | --- |"]
    for verdict in verdicts:
        begun = ", ".join(map(str, verdict.resumed_after))
        lines.append(f"| {verdict.cell} | {len(verdict.kills)} | {begun} | {verdict.difference or 'equal'} |")
    kills = sum(len(verdict.kills) for verdict in verdicts)
    differing = sum(verdict.difference is not None for verdict in verdicts)
    return "\n".join(
        [
            *lines,
            "",
            f"{len(verdicts)} cells, {kills} kills, {differing} differences; seed {seed}; Python"
            f" {platform.python_version()}, torch {version('torch')}, {platform.machine()}.",
        ]
    )


def with_table(page: str, table: str) -> str:
    """Return a page with the table between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
