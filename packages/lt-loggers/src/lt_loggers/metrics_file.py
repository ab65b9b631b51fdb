"""The file ``metrics.csv``: one row per call, one column per metric, and nothing that was written is ever lost."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lt_interfaces.commit import commit_file


class MetricsFile:
    """Rows of metrics in a CSV file that only grows; columns are sorted, missing cells are empty.

    Opening continues what's there: a last row that a kill cut short is removed. `flush` appends; only a new column
    rewrites the file, in one step.

    A resumed run logs again what had been logged between its checkpoint and the end of the interrupted run. A row that
    equals one found at opening isn't written a second time, so the file of an exactly resumed run is that of the
    uninterrupted one. Rows that differ in any cell are kept beside each other.

    Args:
        path: the file; it and its folders are made by the first `flush`.
    """

    def __init__(self, path: Path) -> None:
        self.last_step: int | None = None
        self._path = path
        self._columns: list[str] = []
        self._pending: list[dict[str, str]] = []
        self._found: Counter[str] = Counter()
        if path.exists():
            _remove_torn_row(path)
            self._read()

    @property
    def num_pending(self) -> int:
        """Rows taken since the last `flush`."""
        return len(self._pending)

    def add(self, row: Mapping[str, object]) -> None:
        """Take a row, to be written by the next `flush`."""
        cells = {column: str(value) for column, value in row.items() if value is not None}
        self.last_step = _step_of(cells, self.last_step)
        if self._found and self._was_found(cells):
            return
        self._pending.append(cells)

    def flush(self) -> None:
        """Write the rows taken since the last time; from then on they survive the process being killed."""
        if not self._pending:
            return
        columns = sorted({*self._columns, *(column for cells in self._pending for column in cells)})
        if columns == self._columns:
            self._append()
        else:
            self._rewrite(columns)
            self._columns = columns
        self._pending.clear()

    def _was_found(self, cells: Mapping[str, str]) -> bool:
        """Say whether the file held this row at opening; each row there answers for one that is logged again."""
        key = _key(cells)
        if key not in self._found:
            return False
        self._found[key] -= 1
        if not self._found[key]:
            del self._found[key]
        return True

    def _read(self) -> None:
        for cells in self._rows():
            self._found[_key(cells)] += 1
            self.last_step = _step_of(cells, self.last_step)

    def _rows(self) -> Iterator[dict[str, str]]:
        """Yield the rows of the file, empty cells left out."""
        with self._path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            self._columns = next(reader, [])
            for row in reader:
                yield {column: cell for column, cell in zip(self._columns, row, strict=False) if cell}

    def _append(self) -> None:
        size = self._path.stat().st_size
        text = _lines(self._columns, self._pending)
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            # A full disk must not leave half a row that the next attempt would be appended to.
            os.truncate(self._path, size)
            raise

    def _rewrite(self, columns: Sequence[str]) -> None:
        """Write the file anew with more columns, row by row: its length doesn't matter to memory."""
        with commit_file(self._path) as raw:
            raw.write(_lines(columns, [dict(zip(columns, columns, strict=True))]).encode())
            if self._path.exists():
                for cells in self._rows():
                    raw.write(_lines(columns, [cells]).encode())
            raw.write(_lines(columns, self._pending).encode())


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _key(cells: Mapping[str, str]) -> str:
    """Return what two rows have in common when they say the same, whatever other columns the file has."""
    return repr(sorted((column, cell) for column, cell in cells.items() if cell))


def _step_of(cells: Mapping[str, str], otherwise: int | None) -> int | None:
    try:
        return int(cells["step"])
    except (KeyError, ValueError):
        return otherwise


def _remove_torn_row(path: Path) -> None:
    """Cut what follows the last newline: rows end with one, so it's a row whose writing was interrupted."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        kept = end
        while kept > 0 and not _ends_line(file, kept):
            kept -= 1
        if kept < end:
            file.truncate(kept)


def _ends_line(file: io.BufferedRandom, position: int) -> bool:
    file.seek(position - 1)
    return file.read(1) == b"\n"
