"""Running somebody's program with Lightning's names resolved to lt's."""

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from lt_compat.finder import installed_finder
from lt_compat.installation import why_not


def run(program: str, arguments: Sequence[str], *, as_module: bool) -> None:
    """Run a script, or a module as ``python -m`` would, as the main program.

    Processes that it starts find Lightning's names too.

    Raises:
        SystemExit: the script doesn't exist, or Lightning's names are left alone (see `install`).
    """
    if installed_finder() is None:
        raise SystemExit(why_not())
    sys.argv = [program, *arguments]
    if as_module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        return
    if not Path(program).exists():
        message = f"there's no script {program!r} to run (in {os.getcwd()})"
        raise SystemExit(message)
    sys.path.insert(0, str(Path(program).resolve().parent))
    runpy.run_path(program, run_name="__main__")
