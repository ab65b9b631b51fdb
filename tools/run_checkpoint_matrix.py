"""Saves a training run under each layout over processes, goes on from it under each, and compares losses.

    python tools/run_checkpoint_matrix.py
    python tools/run_checkpoint_matrix.py --write docs/checkpoint-matrix.md

Ends with 1 if any loss differs by more than 1e-6.
"""

import argparse
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent / "integration_tests"))

from checkpoint_matrix import matrix, table  # type: ignore[import-not-found]  # beside the tests, which run it, too

BEGIN: Final = "<!-- checkpoint-matrix: begin -->"
END: Final = "<!-- checkpoint-matrix: end -->"
LIMIT: Final = 1e-6


def main() -> int:
    """Run the matrix and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a page whose table is to be replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = matrix(folder)
    place = f"Python {platform.python_version()}, torch {version('torch')}, gloo; {platform.machine()}"
    text = f"{table(found)}\n\n{place}."
    print(text)
    if options.write is not None:
        before, rest = options.write.read_text().split(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    return int(any(one.difference > LIMIT for one in found))


if __name__ == "__main__":
    sys.exit(main())
