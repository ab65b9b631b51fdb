"""Gate: the public names of every package are those of the committed list, so that adding one is a decision.

The lists live in tools/public_names/, one file per package; `--update` rewrites them. A line reads `module: name`.
A name is public if neither it nor any part of its module's path starts with an underscore: what `__init__` re-exports,
and what any other module defines itself.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from workspace import ROOT, Package, packages

LISTS = ROOT / "tools/public_names"


def public_names(package: Package) -> list[str]:
    """Return `module: name` for every public name of a package, sorted."""
    lines = []
    for file in sorted(package.source.rglob("*.py")):
        parts = list(file.relative_to(package.source).with_suffix("").parts)
        is_front = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_front else parts)
        if not any(part.startswith("_") for part in module.split(".")):
            names = names_in(ast.parse(file.read_text()), with_imports=is_front)
            lines += [f"{module}: {name}" for name in names if not name.startswith("_")]
    return sorted(set(lines))


def names_in(tree: ast.Module, *, with_imports: bool) -> list[str]:
    """Return what a module offers: its `__all__` if it has a literal one, else what it binds at the top level."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "__all__" for name in node.targets
        ):
            return [str(name) for name in ast.literal_eval(node.value)]
    return list(_bound_names(tree.body, with_imports=with_imports))


def _bound_names(statements: list[ast.stmt], *, with_imports: bool) -> Iterator[str]:
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for name in node.targets if isinstance(name, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Import | ast.ImportFrom) and with_imports:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If):
            yield from _bound_names([*node.body, *node.orelse], with_imports=with_imports)


def differences(package: Package, lists: Path) -> list[str]:
    """Return a line for each name that came or went since the list was written."""
    file = lists / f"{package.name}.txt"
    listed = set(file.read_text().splitlines()) if file.exists() else set()
    current = set(public_names(package))
    came = [f"{package.name}: `{line}` is new" for line in sorted(current - listed)]
    went = [f"{package.name}: `{line}` is gone" for line in sorted(listed - current)]
    return came + went


def main() -> int:
    """Compare all packages with their lists, or rewrite the lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="rewrite the lists")
    if parser.parse_args().update:
        LISTS.mkdir(exist_ok=True)
        for package in packages():
            (LISTS / f"{package.name}.txt").write_text("".join(f"{line}\n" for line in public_names(package)))
        return 0
    problems = [line for package in packages() for line in differences(package, LISTS)]
    if problems:
        problems.append(
            "A public name is a promise: if the change is meant, run `hatch run names --update` and commit."
        )
    print("\n".join([*problems, f"public names: {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
