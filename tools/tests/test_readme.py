import re

from workspace import ROOT

EXAMPLE = ROOT / "docs/examples/digits.py"
SHOWN = re.compile(r"<!-- docs/examples/digits.py -->\n```python\n(.*?)```", re.DOTALL)


def test_readme_shows_the_demo_as_it_runs() -> None:
    (shown,) = re.findall(
        r"<!-- docs/examples/digits.py -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert shown == EXAMPLE.read_text()


def test_demo_is_short_enough_to_be_the_first_example() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_readme_shows_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "pip install hatch && hatch run demo" in readme
    assert "pip install hatch && hatch run test" in readme
