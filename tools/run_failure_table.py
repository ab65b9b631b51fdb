"""Lets jobs of two ranks fail in every way under every launcher, and measures how they end.

    python tools/run_failure_table.py                            # all cells
    python tools/run_failure_table.py --only "SIGKILL"           # cells whose names contain this
    python tools/run_failure_table.py --write docs/failures.md

Ends with 1 if any job didn't end as promised.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from failure_table.cells import Ending, all_cells, run_cell
from failure_table.table import table, with_table


def main() -> int:
    """Run the cells asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the names of the cells to run")
    parser.add_argument("--write", type=Path, help="a page whose table is to be replaced; only with all cells")
    options = parser.parse_args()
    endings: list[Ending] = []
    for cell in all_cells():
        if options.only in str(cell):
            with tempfile.TemporaryDirectory() as folder:
                endings.append(run_cell(cell, Path(folder)))
            print(cell, f"{endings[-1].seconds:.1f} s", *endings[-1].flaws(), sep="; ", flush=True)
            if endings[-1].flaws() or options.only:
                print(endings[-1].output, file=sys.stderr)
    if options.write is not None and not options.only:
        options.write.write_text(with_table(options.write.read_text(), table(endings)))
    return int(any(ending.flaws() for ending in endings))


if __name__ == "__main__":
    sys.exit(main())
