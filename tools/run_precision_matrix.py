"""Tries every precision under every layout, training in six ways and evaluating, and prints what came of it as a table.

    python tools/run_precision_matrix.py
    python tools/run_precision_matrix.py --write docs/precision-matrix.md

Ends with 1 if anything neither works to the bit nor is refused.
"""

import argparse
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "integration_tests"))

from precision_matrix import EVERY_WAY, matrix, run, table  # type: ignore[import-not-found]  # beside the test
from serving_ranks import serving  # type: ignore[import-not-found]  # likewise


def main() -> int:
    """Run the matrix and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a page whose table is to be replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(run, Path(folder), seconds=1200) as ask:
        found = matrix(ask, EVERY_WAY)
    engines = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchao", "bitsandbytes"))
    text = f"{table(found)}\n\nPython {platform.python_version()}, {engines}; CPU and gloo, {platform.machine()}."
    print(text)
    if options.write is not None:
        _replace(options.write, text)
    return int(any(one.outcome not in ("exact", "refused") for one in found.values()))


def _replace(page: Path, text: str) -> None:
    begin, end = (f"<!-- precision-matrix: {edge} -->" for edge in ("begin", "end"))
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    sys.exit(main())
