import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lt_compat.command_line import main

Run = Callable[..., CompletedProcess[str]]
PROGRAM = """\
import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

L.Trainer(gpus=1, callbacks=[EarlyStopping("loss")])
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "other.py").write_text("import os\n")
    (tmp_path / "broken.py").write_text("import lightning as (\n")
    return tmp_path


def test_check_tells_each_use_and_ends_with_a_table(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(code)]) == 1
    told = capsys.readouterr().out
    assert "     2  differs  lightning.pytorch.callbacks.EarlyStopping" in told
    assert "changed between runs: The value you pass wins; only the count of waits is restored." in told
    assert "     4  missing  Trainer(gpus=...)" in told
    assert "broken.py\n  not read: line 1: " in told
    assert "missing         1      1\n" in told
    assert "1 of 3 files use Lightning, 1 couldn't be read." in told
    assert "To be replaced before it runs on lt: Trainer(gpus=...)" in told


def test_check_succeeds_where_nothing_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from lightning import Trainer")
    assert main(["check", str(tmp_path)]) == 0


def test_check_shows_what_is_asked_for(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(code), "--only", "missing"])
    told = capsys.readouterr().out
    assert "Trainer(gpus=...)" in told
    assert "EarlyStopping" not in told
    main(["check", str(code), "--quiet"])
    quiet = capsys.readouterr().out
    assert "missing         1      1\n" in quiet
    assert "train.py" not in quiet


def test_check_tells_what_differs_once_for_all_files(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code / "again.py").write_text(PROGRAM)
    main(["check", str(code)])
    told = capsys.readouterr().out
    assert told.count("differs  lightning.pytorch.callbacks.EarlyStopping") == 2
    assert told.count("changed between runs: The value") == 1


def test_check_speaks_to_programs_in_json(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(code), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["uses"] == {"same": 2, "differs": 1, "missing": 1, "private": 0}
    broken, train = report["files"]
    assert broken["problem"].startswith("line 1: ")
    stopping = train["findings"][1]
    assert (stopping["line"], stopping["verdict"], stopping["optional"]) == (2, "differs", False)
    assert stopping["differences"][0]["title"] == "`EarlyStopping(patience=...)` changed between runs"


def test_migrate_shows_a_diff_and_writes_nothing(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(code)]) == 0
    told = capsys.readouterr().out
    assert "-from lightning.pytorch.callbacks import EarlyStopping\n" in told
    assert "+from lt_callbacks import EarlyStopping\n" in told
    assert "1 of 3 files would be rewritten, 0 keep names of Lightning's." in told
    assert "What was rewritten needs: pip install lt-all" in told
    assert (code / "train.py").read_text() == PROGRAM


def test_migrate_writes_when_told(code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--write", str(code)]) == 0
    assert "1 of 3 files were rewritten" in capsys.readouterr().out
    after = (code / "train.py").read_text()
    assert after.startswith("import lt as L\nfrom lt_callbacks import EarlyStopping\n\nL.Trainer(")
    main(["migrate", "--write", str(code)])
    assert "0 of 3 files were rewritten" in capsys.readouterr().out
    assert (code / "train.py").read_text() == after


def test_migrate_tells_what_it_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("logging.getLogger('lightning.pytorch')")
    main(["migrate", str(tmp_path)])
    told = capsys.readouterr().out
    assert "a.py:1: left `lightning.pytorch`. The logger of lt is called `lt`." in told
    assert "still needs lt-compat" not in told
    (tmp_path / "a.py").write_text("import lightning\nprint(lightning.__version__)\n")
    main(["migrate", str(tmp_path)])
    told = capsys.readouterr().out
    assert "a.py:2: left `lightning.__version__`. lt's packages have versions of their own" in told
    assert "still needs lt-compat: python -m lt_compat run SCRIPT" in told


def test_a_wrong_path_ends_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "no/where"])
    assert ended.value.code == 2
    assert "there's nothing at no/where" in capsys.readouterr().err


def test_running_a_program_does_not_load_the_parser(
    python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text("import sys; print('libcst' in sys.modules)")
    assert python("-m", "lt_compat", "run", "program.py").stdout == "False\n"
