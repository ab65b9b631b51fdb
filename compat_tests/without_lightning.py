"""Runs a script in a process where Lightning's names, and lt-compat's, can't be imported."""

import runpy
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

FORBIDDEN = ("lightning", "lightning_fabric", "lt_compat", "pytorch_lightning")


class Refusal(MetaPathFinder):
    """Refuses to find what a migrated script doesn't need."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] in FORBIDDEN:
            message = f"a migrated script imports {name!r}"
            raise AssertionError(message)
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, Refusal())
    _, script, *sys.argv[1:] = sys.argv
    sys.path[0] = str(Path(script).parent)
    sys.argv[0] = script
    runpy.run_path(script, run_name="__main__")
