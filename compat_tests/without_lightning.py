"""Runs a script in a process where Lightning's names can't be imported, nor lt-compat, but for its demonstrations."""

import runpy
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

FORBIDDEN = ("lightning", "lightning_fabric", "pytorch_lightning")


class Refusal(MetaPathFinder):
    """Refuses to find what a migrated script doesn't need."""

    def __init__(self, forbidden: tuple[str, ...]) -> None:
        self.forbidden = forbidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self.forbidden:
            message = f"a migrated script imports {name!r}"
            raise AssertionError(message)
        return None


if __name__ == "__main__":
    _, script, *sys.argv[1:] = sys.argv
    needs_demos = "from lt_compat.demos" in Path(script).read_text()
    sys.meta_path.insert(0, Refusal(FORBIDDEN if needs_demos else (*FORBIDDEN, "lt_compat")))
    sys.path[0] = str(Path(script).parent)
    sys.argv[0] = script
    runpy.run_path(script, run_name="__main__")
