from pathlib import Path

import pytest

from lt_loggers.versions import RunFolder, next_version


def test_next_version_follows_the_highest_number_not_the_last_name(tmp_path: Path) -> None:
    for name in ("version_9", "version_10", "version_2", "version_x", "version_", "other", "version_99_copy"):
        (tmp_path / name).mkdir()
    (tmp_path / "version_50").write_text("a file, not a run")
    assert next_version(tmp_path) == 11


def test_version_stays_once_it_was_looked_at(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, name="name", version=None)
    assert folder.version == 0
    (tmp_path / "name" / "version_0").mkdir(parents=True)
    assert folder.version == 0
    assert RunFolder(tmp_path, name="name", version=None).version == 1


def test_home_and_environment_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS", "my_runs")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/$RUNS", name="", version=3).path == str(tmp_path / "my_runs" / "version_3")
