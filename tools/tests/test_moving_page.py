"""What the page on moving from Lightning shows is what the commands say."""

import re
from pathlib import Path

import pytest

from lt_compat.command_line import main
from workspace import ROOT

PAGE = (ROOT / "docs" / "explanation" / "moving-from-lightning.md").read_text(encoding="utf-8")


def block(title: str) -> str:
    (found,) = re.findall(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(("command", "status"), [("check", 1), ("migrate", 0)])
def test_the_page_shows_what_the_command_says(
    command: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(block("train.py"), encoding="utf-8")
    assert main([command, "train.py"]) == status
    assert capsys.readouterr().out == block(f"python -m lt_compat {command} train.py")
