"""Kills training runs at random moments, resumes them until done, and compares each with one left alone.

    python tools/run_kill_matrix.py                              # all cells
    python tools/run_kill_matrix.py --quick                      # fewer cells, in which all pairs of settings occur
    python tools/run_kill_matrix.py --only "batch sampler"       # cells whose names contain this
    python tools/run_kill_matrix.py --only "..." --keep folder   # leave what the runs wrote for looking at
    python tools/run_kill_matrix.py --write docs/kill-matrix.md

Ends with 1 if any run differs from its uninterrupted twin.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from kill_matrix.cells import Cell, pairwise, special_cells, whole_product
from kill_matrix.runs import Verdict, run_cell
from kill_matrix.table import table, with_table


def main() -> int:
    """Run the cells asked for and print the table."""
    options = parse()
    cells = [*(pairwise(whole_product()) if options.quick else whole_product()), *special_cells()]
    chosen = [cell for cell in cells if options.only in str(cell)]
    began = time.monotonic()
    verdicts = run_all(chosen, options)
    text = table(verdicts, options.seed)
    print(text, f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)
    if options.write is not None:
        options.write.write_text(with_table(options.write.read_text(), text))
    return int(any(verdict.difference is not None for verdict in verdicts))


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a pairwise selection in place of the whole product")
    parser.add_argument("--only", default="", help="a part of the names of the cells to run")
    parser.add_argument("--kills", type=int, default=4, help="how often each run is killed at most")
    parser.add_argument("--seed", type=int, default=0, help="decides where runs are killed")
    parser.add_argument("--processes", type=int, default=2, help="how many cells run at a time")
    parser.add_argument("--keep", type=Path, help="an empty folder for what the runs leave")
    parser.add_argument("--write", type=Path, help="a page whose table is to be replaced")
    return parser.parse_args()


def run_all(cells: Sequence[Cell], options: argparse.Namespace) -> list[Verdict]:
    """Run cells side by side, and tell of each as it's done."""
    warm_up()
    verdicts = []
    with ProcessPoolExecutor(options.processes, mp_context=get_context("fork")) as pool:
        runs = [pool.submit(run_one, cell, number, options) for number, cell in enumerate(cells)]
        for run in runs:
            verdict = run.result()
            verdicts.append(verdict)
            print(f"{len(verdicts)}/{len(cells)}  {verdict.difference or 'equal'}  ({verdict.cell})", flush=True)
    return verdicts


def run_one(cell: Cell, number: int, options: argparse.Namespace) -> Verdict:
    """Run a cell, killed at moments of its own."""
    folder = options.keep / str(number) if options.keep is not None else None
    return run_cell(cell, seed=1000 * options.seed + number, num_kills=options.kills, keep_in=folder)


def warm_up() -> None:
    """Load what the first optimizer loads, once for all forks; one thread, as threads don't survive a fork."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


if __name__ == "__main__":
    sys.exit(main())
