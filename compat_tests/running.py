"""Runs the scripts beside this module in processes of their own: under Lightning, under lt-compat, and migrated."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "scripts"
SECONDS = 120
"""Far more than any script takes."""


def under_lightning(script: Path, folder: Path, *arguments: str) -> None:
    """Run a script as it is, with the Lightning that's installed."""
    _run([str(script)], folder, *arguments, mode="off")


def under_lt_compat(script: Path, folder: Path, *arguments: str) -> None:
    """Run the same script on lt, though Lightning is installed."""
    _run(["-m", "lt_compat", "run", str(script)], folder, *arguments, mode="force")


def without_names(script: Path, folder: Path) -> None:
    """Run a script in a process that refuses to import Lightning's names (see `without_lightning`)."""
    _run([str(Path(__file__).parent / "without_lightning.py"), str(script)], folder, mode="off")


def migrate(path: Path) -> str:
    """Rewrite a script, or all in a folder, to import lt, and return what was said."""
    command = [sys.executable, "-m", "lt_compat", "migrate", str(path), "--write"]
    return _checked(command, SCRIPTS.parent, mode="off")


def _run(words: list[str], folder: Path, *arguments: str, mode: str) -> None:
    # Within the folder, so that what goes to the current one is seen too.
    folder.mkdir(parents=True)
    _checked([sys.executable, "-W", "ignore", *words, str(folder), *arguments], folder, mode=mode)


def _checked(command: list[str], folder: Path, *, mode: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LT_COMPAT": mode}
    process = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if process.returncode:
        said = process.stdout[-2000:] + process.stderr[-6000:]
        message = f"{' '.join(command)} ended with {process.returncode}:\n{said}"
        raise RuntimeError(message)
    return process.stdout
