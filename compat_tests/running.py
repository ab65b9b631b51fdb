"""Runs the scripts beside this module in processes of their own: under Lightning, under lt-compat, and migrated."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
SECONDS = 120
"""Far more than any script takes."""


def under_lightning(script: Path, folder: Path) -> None:
    """Run a script as it is, with the Lightning that's installed."""
    _run([str(script)], folder, {"LT_COMPAT": "off"})


def under_lt_compat(script: Path, folder: Path) -> None:
    """Run the same script on lt, though Lightning is installed."""
    _run(["-m", "lt_compat", "run", str(script)], folder, {"LT_COMPAT": "force"})


def without_names(script: Path, folder: Path) -> None:
    """Run a script in a process that refuses to import any of Lightning's names, or lt-compat."""
    _run([str(Path(__file__).parent / "without_lightning.py"), str(script)], folder, {"LT_COMPAT": "off"})


def migrate(path: Path) -> str:
    """Rewrite a script, or all in a folder, to import lt, and return what was said."""
    command = [sys.executable, "-m", "lt_compat", "migrate", str(path), "--write"]
    return _checked(command, {"LT_COMPAT": "off"})


def _run(words: list[str], folder: Path, variables: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    _checked([sys.executable, "-W", "ignore", *words, str(folder)], variables)


def _checked(command: list[str], variables: Mapping[str, str]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    if process.returncode:
        said = process.stdout[-2000:] + process.stderr[-6000:]
        message = f"{' '.join(command)} ended with {process.returncode}:\n{said}"
        raise RuntimeError(message)
    return process.stdout
