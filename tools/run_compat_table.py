"""Runs the libraries of `compat_tests/libraries` on lt and on Lightning, and prints what came of it as a table.

    LIGHTNING_PYTHON=.../bin/python python tools/run_compat_table.py
    LIGHTNING_PYTHON=.../bin/python python tools/run_compat_table.py --write docs/explanation/compat-libraries.md

Ends with 1 if a library comes to other losses or predictions than on Lightning, or can't read the other's checkpoint.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from compat_tests.libraries.sides import LT, OTHER_PYTHON, Side, lightning


@dataclass(frozen=True)
class Library:
    """One row of the table."""

    distribution: str
    story: str
    commands: str
    """The library's own, with which it trains and predicts."""
    loss: str
    """The validation's, by the name that it's logged by."""


LIBRARIES = (
    Library("chemprop", "molecules", "`chemprop train`, `chemprop predict`", "val_loss"),
    Library("pytorch-forecasting", "forecasting", "`Trainer.fit`, `model.predict`; `DLinear_pkg_v2.fit`", "val_loss"),
    Library("pytorch-tabular", "tables", "`TabularModel.fit`, `.evaluate`, `.predict`, `.load_model`", "valid_loss"),
)
HEAD = (
    "| library | its commands | validation loss of each epoch on lt | on Lightning | predictions differ by at most | "
    "lt reads Lightning's checkpoint | Lightning reads lt's |"
)


def main() -> int:
    """Run every library on both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a page whose table is to be replaced")
    options = parser.parse_args()
    other = lightning()
    if other is None:
        print(f"set {OTHER_PYTHON} to a Python with a real Lightning and the same libraries", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        rows, alike = zip(*(_row(library, other, Path(folder) / library.story) for library in LIBRARIES), strict=True)
    text = "\n".join([HEAD, "| --- " * HEAD.count(" |") + "|", *rows]) + f"\n\n{_versions(other)}"
    print(text)
    if options.write is not None:
        _replace(options.write, text)
    return int(not all(alike))


def _row(library: Library, other: Side, folder: Path) -> tuple[str, bool]:
    ours = LT.train(library.story, folder / "lt")
    theirs = other.train(library.story, folder / "lightning")
    here = LT.reload(library.story, theirs["checkpoint"], folder / "lt-of-lightning")
    there = other.reload(library.story, ours["checkpoint"], folder / "lightning-of-lt")
    losses = [run["logged"][library.loss] for run in (ours, theirs)]
    farthest = _farthest(ours, theirs)
    read = [_farthest(here, theirs), _farthest(there, ours)]
    cells = [
        f"{library.distribution} {version(library.distribution)}",
        library.commands,
        *(", ".join(f"{loss:.6f}" for loss in values) for values in losses),
        f"{farthest:g}",
        *(f"the same predictions, to {_far(distance)}" for distance in read),
    ]
    return f"| {' | '.join(cells)} |", losses[0] == losses[1] and farthest == 0 and max(read) < 1e-6


def _farthest(told: dict[str, Any], of: dict[str, Any]) -> float:
    both = zip(told["predicted"], of["predicted"], strict=True)
    return max(abs(float(one) - float(another)) for one, another in both)


def _far(distance: float) -> str:
    return "the bit" if distance == 0 else f"{distance:.0e}"


def _versions(other: Side) -> str:
    asked = "from importlib.metadata import version; print(version('lightning'), version('pytorch-lightning'))"
    said = subprocess.run([other.command[0], "-c", asked], capture_output=True, text=True, check=True)
    newest, alone = said.stdout.split()
    return (
        f"Python {platform.python_version()}, torch {version('torch')}, torchmetrics {version('torchmetrics')}, "
        f"lightning {newest}, pytorch-lightning {alone}; CPU, {platform.machine()}."
    )


def _replace(page: Path, text: str) -> None:
    begin, end = (f"<!-- compat-libraries: {edge} -->" for edge in ("begin", "end"))
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    sys.exit(main())
