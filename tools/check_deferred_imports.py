"""Gate: imports stand at the top of a file; one inside a function says why, in a comment above it or beside it.

Good reasons are a heavy optional dependency, or start-up time that was measured.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from workspace import ROOT


def unexplained(source: str) -> Iterator[int]:
    """Yield the line of each import inside a function that no comment explains; a comment covers a block of imports."""
    lines = source.splitlines()
    explained_until = 0
    for node in sorted(_deferred(ast.parse(source)), key=lambda node: node.lineno):
        above, beside = lines[node.lineno - 2].strip(), lines[node.lineno - 1]
        if above.startswith("#") or "  # " in beside or explained_until == node.lineno - 1:
            explained_until = node.end_lineno or node.lineno
        else:
            yield node.lineno


def _deferred(tree: ast.Module) -> set[ast.Import | ast.ImportFrom]:
    return {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def problems(root: Path) -> Iterator[str]:
    """Yield a line for each unexplained import in the packages' sources."""
    for file in sorted(root.glob("packages/*/src/**/*.py")):
        for line in unexplained(file.read_text()):
            yield f"{file.relative_to(root)}:{line}: import it at the top, or say in a comment why not"


def main() -> int:
    """Check all packages and print what's wrong."""
    found = list(problems(ROOT))
    print("\n".join([*found, f"deferred imports: {len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
