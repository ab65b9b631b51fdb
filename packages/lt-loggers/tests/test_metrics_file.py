import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_loggers.metrics_file import MetricsFile

Row = dict[str, object]


def written(path: Path, *rows: Row) -> str:
    file = MetricsFile(path)
    for row in rows:
        file.add(row)
    file.flush()
    return path.read_text()


def test_columns_are_sorted_and_missing_cells_empty(tmp_path: Path) -> None:
    text = written(tmp_path / "m.csv", {"step": 0, "loss": 0.5}, {"step": 1, "acc": 0.25})
    assert text == "acc,loss,step\n,0.5,0\n0.25,,1\n"


def test_new_column_keeps_rows_that_were_flushed(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    file = MetricsFile(path)
    file.add({"step": 0, "loss": 0.5})
    file.flush()
    file.add({"step": 1, "acc": 1, "loss": 0.25})
    file.flush()
    assert path.read_text() == "acc,loss,step\n,0.5,0\n1,0.25,1\n"


def test_known_columns_are_appended_without_rewriting(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    written(path, {"step": 0, "loss": 0.5})
    inode = path.stat().st_ino
    written(path, {"step": 1, "loss": 0.25})
    assert path.stat().st_ino == inode


def test_nothing_is_made_before_the_first_flush(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "folder" / "m.csv")
    file.add({"step": 0})
    assert not (tmp_path / "folder").exists()


def test_row_cut_by_a_kill_is_removed_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("loss,step\n0.5,0\n0.25,1\n0.12")
    assert written(path, {"step": 2, "loss": 0.125}) == "loss,step\n0.5,0\n0.25,1\n0.125,2\n"


def test_header_cut_by_a_kill_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("lo")
    assert written(path, {"step": 0, "loss": 0.5}) == "loss,step\n0.5,0\n"


def test_values_with_commas_quotes_and_newlines_come_back(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    row: Row = {"step": 0, 'odd "name", yes': "a\nb,c"}
    text = written(path, row)
    assert written(path, row) == text


def test_row_logged_twice_in_one_run_is_written_twice(tmp_path: Path) -> None:
    assert written(tmp_path / "m.csv", {"step": 0, "a": 1}, {"step": 0, "a": 1}) == "a,step\n1,0\n1,0\n"


def test_resumed_run_does_not_repeat_equal_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    rows: list[Row] = [{"step": step, "loss": 1 / (step + 1)} for step in range(6)]
    uninterrupted = written(path, *rows)
    path.unlink()
    written(path, *rows[:5])
    assert written(path, *rows[2:]) == uninterrupted


def test_rows_that_differ_from_the_interrupted_run_are_kept_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    written(path, {"step": 0, "loss": 0.5}, {"step": 1, "loss": 0.25})
    assert written(path, {"step": 1, "loss": 0.125}) == "loss,step\n0.5,0\n0.25,1\n0.125,1\n"


def test_last_step_is_known_after_reopening(tmp_path: Path) -> None:
    written(tmp_path / "m.csv", {"step": 7, "loss": 0.5})
    assert MetricsFile(tmp_path / "m.csv").last_step == 7


def test_full_disk_leaves_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.csv"
    file = MetricsFile(path)
    file.add({"step": 0, "loss": 0.5})
    file.flush()
    file.add({"step": 1, "loss": 0.25})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", _opening_on_a_full_disk)
        with pytest.raises(OSError, match="No space left"):
            file.flush()
    assert path.read_text() == "loss,step\n0.5,0\n"
    file.flush()
    assert path.read_text() == "loss,step\n0.5,0\n0.25,1\n"


class _FullDisk:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __enter__(self) -> "_FullDisk":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, text: str) -> None:
        self._file.write(text[:3])
        raise OSError(28, "No space left on device")


def _opening_on_a_full_disk(path: Path, mode: str = "r", **kwargs: Any) -> _FullDisk:
    return _FullDisk(open(path, mode, **kwargs))


ROWS = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 3)},
        optional={"a": st.floats(width=16), "b": st.integers(), "c": st.sampled_from(["x", "y,z"])},
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: repr(sorted(row.items())),
)


@given(rows=ROWS, data=st.data())
def test_exactly_resumed_file_equals_the_uninterrupted_one(rows: list[Row], data: st.DataObject) -> None:
    killed_after = data.draw(st.integers(0, len(rows)))
    checkpoint = data.draw(st.integers(0, killed_after))
    torn = data.draw(st.sampled_from(["", "1", "1,2", '"half']))
    with TemporaryDirectory() as folder:
        whole, resumed = Path(folder, "whole.csv"), Path(folder, "resumed.csv")
        written(whole, *rows)
        if killed_after:
            written(resumed, *rows[:killed_after])
            with resumed.open("a") as file:
                file.write(torn)
        written(resumed, *rows[checkpoint:])
        assert resumed.read_text() == whole.read_text()
        assert sorted(os.listdir(folder)) == ["resumed.csv", "whole.csv"]
