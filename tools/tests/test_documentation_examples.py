"""What the documentation's pages show in `pycon` blocks runs, and answers what they say."""

import doctest
import re
from pathlib import Path

import pytest

from workspace import ROOT

BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if BLOCK.search(page.read_text()))


def failures(source: str, name: str) -> str:
    """Run a page's examples, one after another in one session; return what doctest says of those that fail."""
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, {"__name__": "__main__"}, name, name, 0)
    # Names stay: what torch has compiled takes its own away when it's collected, and fails if they're gone.
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append, clear_globs=False)
    return "".join(said)


# A tiny loader needs no workers, on machines with many cores neither.
@pytest.mark.filterwarnings("ignore:.*num_workers")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert failures("\n".join(BLOCK.findall(page.read_text())), page.name) == ""


def test_a_wrong_answer_is_found() -> None:
    (source,) = BLOCK.findall("Text.\n\n```pycon\n>>> 1 + 1\n3\n```\n")
    assert "Got:\n    2" in failures(source, "page.md")
