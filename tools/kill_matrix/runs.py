"""One cell of the matrix: a run left alone, and one that's killed again and again."""

import json
import random
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kill_matrix.attempts import Ending, attempt
from kill_matrix.cells import Cell
from kill_matrix.comparison import first_difference, read_trace
from kill_matrix.kills import DELAY, Executioner, Kill, draw_kill
from kill_matrix.training import train


@dataclass(frozen=True)
class Verdict:
    """What came of a cell."""

    cell: Cell
    difference: str | None
    """The first difference between the two runs, or why there's nothing to compare."""
    kills: tuple[str, ...] = ()
    """Where the run was killed."""
    resumed_after: tuple[int, ...] = ()
    """After how many micro-batches each attempt began."""


def run_cell(cell: Cell, *, seed: int, num_kills: int, keep_in: Path | None = None) -> Verdict:
    """Run a cell both ways and compare.

    Args:
        cell: the settings.
        seed: decides where it's killed.
        num_kills: how often it's killed at most; the next attempt is left alone.
        keep_in: a folder for what the runs leave; by default a temporary one.
    """
    if keep_in is not None:
        return _run_in(keep_in, cell, seed=seed, num_kills=num_kills)
    with tempfile.TemporaryDirectory(prefix="kill-matrix-") as folder:
        return _run_in(Path(folder), cell, seed=seed, num_kills=num_kills)


def _run_in(folder: Path, cell: Cell, *, seed: int, num_kills: int) -> Verdict:
    whole, killed = folder / "whole", folder / "killed"
    for place in (whole, killed):
        place.mkdir(parents=True)
    ending = _start(cell, whole, None)
    if ending.exit_code:
        return Verdict(cell, f"the uninterrupted run failed: {_last_words(whole, ending)}")
    chance, kills = random.Random(seed), []
    counts = json.loads((whole / "counts.json").read_text())
    for number in range(num_kills + 1):
        kill = draw_kill(chance, counts, ending.seconds) if number < num_kills else None
        now = _start(cell, killed, kill)
        if not now.was_killed:
            break
        assert kill is not None
        kills.append(f"{kill.moment} {kill.at:.3g}")
    begun = tuple(line["seen"] for line in read_trace(killed) if line["kind"] == "start")
    failed = f"attempt {number + 1} failed: {_last_words(killed, now)}" if now.exit_code else None
    return Verdict(cell, failed or first_difference(whole, killed), tuple(kills), begun)


def _start(cell: Cell, folder: Path, kill: Kill | None) -> Ending:
    """Start the training script of a cell and wait until it's done or dead."""
    delay = kill.at if kill is not None and kill.moment == DELAY else None
    task = partial(train, cell, folder, Executioner(kill))
    return attempt(task, log=folder / "log.txt", kill_after=delay)


def _last_words(folder: Path, ending: Ending) -> str:
    if ending.is_late:
        return f"it didn't end within {ending.seconds:.0f} s"
    lines = (folder / "log.txt").read_text().strip().splitlines()
    return lines[-1] if lines else f"exit code {ending.exit_code}"
