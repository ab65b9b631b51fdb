"""Copy the rows of the page "Differences from Lightning" that lt-compat tells users of, into its package.

Run it after a row of `docs/explanation/differences.md` has changed; a test says when it's needed. Which rows are copied
is said in `lt_compat/differences.py`, by their titles.
"""

import json
import re
import sys
from typing import Final

from lt_compat.differences import titles
from workspace import ROOT

PAGE: Final = ROOT / "docs" / "explanation" / "differences.md"
COPY: Final = ROOT / "packages" / "lt-compat" / "src" / "lt_compat" / "differences.json"
_LINK: Final = re.compile(r" ?\(\[[^]]*\]\([^)]*\)\)|\[([^]]*)\]\([^)]*\)")
_NONE: Final = "\N{EN DASH}"


def rows(page: str) -> dict[str, dict[str, str]]:
    """Return the page's rows by their titles: what lt does, and the switch. Links become their text, or go.

    Raises:
        ValueError: two rows have the same title.
    """
    found: dict[str, dict[str, str]] = {}
    for line in page.splitlines():
        cells = [_LINK.sub(r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 5 or cells[0] == "what" or set(cells[0]) == {"-"}:
            continue
        title, _, lt, _, switch = cells
        if title in found:
            message = f"two rows are called {title!r}"
            raise ValueError(message)
        found[title] = {"lt": lt, "switch": "" if switch == _NONE else switch}
    return found


def copied() -> str:
    """Return what the copy should hold.

    Raises:
        ValueError: a title that lt-compat names isn't on the page.
    """
    page = rows(PAGE.read_text(encoding="utf-8"))
    if gone := [title for title in titles() if title not in page]:
        message = f"the page has no row called {gone}; lt_compat/differences.py names it"
        raise ValueError(message)
    return json.dumps({title: page[title] for title in titles()}, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the copy."""
    COPY.write_text(copied(), encoding="utf-8")
    print(f"{COPY.relative_to(ROOT)}: {len(titles())} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
