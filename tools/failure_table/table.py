"""The endings as a Markdown table, with the last lines of each below it."""

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from failure_table.cells import FAILURES, LAUNCHERS, Ending

BEGIN: Final = "<!-- failures: begin -->"
END: Final = "<!-- failures: end -->"
_NUM_LINES: Final = 20


def table(endings: Sequence[Ending]) -> str:
    """Return seconds to the end by failure and launcher, then how each output ends."""
    lines = [f"| seconds to the end | {' | '.join(LAUNCHERS)} |", f"| --- |{' ---: |' * len(LAUNCHERS)}"]
    for failure in FAILURES:
        row = [ending for name in LAUNCHERS for ending in endings if str(ending.cell) == f"{failure} · {name}"]
        allowed = row[0].cell.allowed_seconds
        lines.append(f"| {failure} (at most {allowed}) | {' | '.join(f'{ending.seconds:.1f}' for ending in row)} |")
    flaws = [f"{ending.cell}: {flaw}" for ending in endings for flaw in ending.flaws()]
    place = f"Python {platform.python_version()}, torch {version('torch')}, {platform.machine()}"
    lines += ["", f"{len(endings)} jobs; not as promised: {'; '.join(flaws) or 'none'}. {place}.", ""]
    for ending in endings:
        lines += [f"**{ending.cell}** (exit code {ending.exit_code})", "", "```text"]
        lines += [*without_places(ending.last_lines(_NUM_LINES)).splitlines(), "```", ""]
    return "\n".join(lines)


def without_places(text: str) -> str:
    """Return an output in which files are named as they are in the repository and in packages, whatever the machine."""
    return re.sub(r'(?<=")/\S*/(?=tools/|packages/)|(?<=")/\S*/site-packages/', "", text)


def with_table(page: str, table: str) -> str:
    """Return a page with what's between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
