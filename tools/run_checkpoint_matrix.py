"""Saves a training run under each layout over processes, goes on from it under each, and compares losses.

    python tools/run_checkpoint_matrix.py
    python tools/run_checkpoint_matrix.py --write docs/checkpoint-matrix.md
    python tools/run_checkpoint_matrix.py --deepspeed --write docs/checkpoint-matrix.md

With --deepspeed, where DeepSpeed is installed, it saves and goes on under DeepSpeed's stages on one of both sides. Ends
with 1 if any loss differs by more than 1e-6.
"""

import argparse
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent.parent / "deepspeed_tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "integration_tests"))

from checkpoint_matrix import matrix, table  # type: ignore[import-not-found]  # beside the tests, which run it, too

LIMIT: Final = 1e-6


def main() -> int:
    """Run the matrix and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a page whose table is to be replaced")
    parser.add_argument("--deepspeed", action="store_true", help="the matrix with DeepSpeed's stages")
    options = parser.parse_args()
    place = f"Python {platform.python_version()}, torch {version('torch')}, gloo; {platform.machine()}"
    with tempfile.TemporaryDirectory() as folder:
        if options.deepspeed:
            found, remark = _with_deepspeed(folder)
            text = f"{table(found)}\n\n{remark}\n\nDeepSpeed {version('deepspeed')}, {place}."
        else:
            found = matrix(folder)
            text = f"{table(found)}\n\n{place}."
    print(text)
    if options.write is not None:
        _replace(options.write, "deepspeed-matrix" if options.deepspeed else "checkpoint-matrix", text)
    return int(any(one.difference > LIMIT for one in found))


def _with_deepspeed(folder: str) -> tuple[list[Any], str]:
    """Return the pairs, and a sentence on how far DeepSpeed is from one process anyway."""
    from deepspeed_matrix import matrix  # type: ignore[import-not-found]  # needs DeepSpeed, as its tests do

    found, by_themselves = matrix(folder)
    stages = ", ".join(f"{difference:.1e} under stage {stage[-1]}" for stage, difference in by_themselves.items())
    return found, f"A stage that goes on by itself differs from one process that does so: by {stages}."


def _replace(page: Path, name: str, text: str) -> None:
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    sys.exit(main())
