"""Running somebody's program with Lightning's names resolved to lt's."""

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from lt_compat.finder import installed_finder
from lt_compat.installation import real_packages, unchanged_names


def run(program: str, arguments: Sequence[str], *, as_module: bool) -> None:
    """Run a script, or a module as ``python -m`` would, as the main program.

    Processes that it starts find Lightning's names too.

    Raises:
        SystemExit: the script doesn't exist, or a real Lightning is installed and ``LT_COMPAT`` isn't ``force``.
    """
    if installed_finder() is None:
        raise SystemExit(unchanged_names(real_packages()))
    if as_module:
        sys.argv = [program, *arguments]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        return
    script = Path(program)
    if not script.exists():
        message = f"there's no script {program!r} to run (in {os.getcwd()})"
        raise SystemExit(message)
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(program, run_name="__main__")
