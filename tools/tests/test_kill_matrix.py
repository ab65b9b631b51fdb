"""The kill matrix sees what differs: it would be worth nothing if it called everything equal."""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kill_matrix.attempts import attempt
from kill_matrix.cells import pairwise, special_cells, whole_product
from kill_matrix.comparison import first_difference
from kill_matrix.kills import DELAY, TORN, Executioner, Kill, draw_kill
from kill_matrix.table import BEGIN, END, with_table

Line = dict[str, Any]

LINES: list[Line] = [
    {"kind": "start", "at": [17], "seen": 0},
    {"kind": "batch", "at": [1], "ids": [4, 2], "loss": (0.5).hex()},
    {"kind": "batch", "at": [2], "ids": [1, 3], "loss": (0.25).hex()},
]


def leave(folder: Path, lines: list[Line] = LINES, *, row: str = "0.5,0", steps: int = 2, weight: float = 1.0) -> Path:
    """Write what a run leaves behind."""
    (folder / "run" / "version_0").mkdir(parents=True)
    (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run" / "version_0" / "metrics.csv").write_text(f"loss,step\n{row}\n")
    (folder / "outcome.json").write_text(json.dumps({"steps": steps}))
    torch.save({"weight": torch.tensor([weight])}, folder / "weights.pt")
    return folder


RESUMED = [*LINES[:2], {"kind": "start", "at": [18], "seen": 0}, *LINES[1:]]


def test_a_run_that_repeats_itself_exactly_is_equal(tmp_path: Path) -> None:
    assert first_difference(leave(tmp_path / "whole"), leave(tmp_path / "resumed", RESUMED)) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lines": [*LINES[:2], {**LINES[2], "ids": [3, 1]}]}, "batch 2: `ids` is"),
        ({"lines": [*LINES[:2], {**LINES[2], "loss": (0.25 + 2**-50).hex()}]}, "batch 2: `loss` is"),
        ({"lines": [*LINES[:2], {"kind": "start", "at": [2], "seen": 0}, LINES[2]]}, "follows batch 0"),
        ({"lines": [*LINES, {"kind": "batch", "at": [3]}]}, "doesn't happen"),
        ({"lines": LINES[:2]}, "never happened"),
        ({"row": "0.5,1"}, "metrics.csv, line 2"),
        ({"row": "0.5,0\n0.5,0"}, "3 lines instead of 2"),
        ({"steps": 3}, "`steps` is 3"),
        ({"weight": 1.0 + 2**-23}, "`weight` differs"),
    ],
)
def test_every_difference_is_found(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    difference = first_difference(leave(tmp_path / "whole"), leave(tmp_path / "resumed", **changed))
    assert difference is not None
    assert said in difference


def test_the_selection_holds_every_pair_of_settings_in_few_cells() -> None:
    assert len(whole_product()) == 128
    chosen = pairwise(whole_product())
    assert len(chosen) <= 10
    assert {(cell.workers, cell.manual) for cell in chosen} == {(0, False), (0, True), (2, False), (2, True)}


def test_no_two_cells_have_the_same_name() -> None:
    names = [str(cell) for cell in [*whole_product(), *special_cells()]]
    assert len(names) == len(set(names))


def test_kills_are_drawn_again_by_the_same_seed() -> None:
    counts = {"forward": 30, "before a rename": 8}
    first, second = ([draw_kill(random.Random(3), counts, 1.0) for _ in range(5)] for _ in range(2))
    assert first == second
    assert {kill.moment for kill in first} <= {*counts, DELAY}


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="attempts are forks")


@needs_fork
# Newer Pythons warn of forks while threads run; this one runs a few lines of Python only.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("task", "exit_code", "was_killed"),
    [
        (lambda: None, 0, False),
        (lambda: 1 / 0, 1, False),
        (lambda: Executioner(Kill("here", 1)).reach("here"), -signal.SIGKILL, True),
    ],
)
def test_an_attempt_tells_how_it_ended(
    tmp_path: Path, task: Callable[[], None], exit_code: int, was_killed: bool
) -> None:
    ending = attempt(task, log=tmp_path / "log.txt")
    assert (ending.exit_code, ending.was_killed) == (exit_code, was_killed)
    assert ("ZeroDivisionError" in (tmp_path / "log.txt").read_text()) is (exit_code == 1)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_within_a_write_leaves_half_of_the_bytes(tmp_path: Path) -> None:
    def write() -> None:
        Executioner(Kill(TORN, 1)).watch_files()
        with (tmp_path / "file").open("wb") as file:
            file.write(bytes(100))
            file.flush()
            os.fsync(file.fileno())

    assert attempt(write, log=tmp_path / "log.txt").was_killed
    assert (tmp_path / "file").stat().st_size == 50


def test_only_the_table_of_a_page_is_replaced() -> None:
    assert with_table(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"
