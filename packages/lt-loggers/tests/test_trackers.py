from pathlib import Path

import pytest

from lt_interfaces.errors import MissingPackageError
from lt_loggers.trackers import require_tracker


def test_a_missing_library_is_named_with_its_pip_line() -> None:
    with pytest.raises(MissingPackageError) as raised:
        require_tracker("no_such_tracker", distribution="no-such-tracker", logger="SuchLogger", extra="such")
    assert str(raised.value) == (
        "`SuchLogger` needs the package `no-such-tracker`, which isn't installed. "
        'Install it with: pip install "lt-loggers[such]"'
    )


def test_a_folder_of_that_name_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackers_files").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError):
        require_tracker("trackers_files", distribution="tracker", logger="SuchLogger", extra="such")


def test_an_installed_library_is_fine() -> None:
    require_tracker("yaml", distribution="PyYAML", logger="SuchLogger", extra="such")
