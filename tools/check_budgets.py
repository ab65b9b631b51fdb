"""Gate: files, functions and classes stay within their size budgets, and no module is a drawer.

Signatures and docstrings don't count. What may be larger is listed in budget_exemptions.txt, one reason each; an
exemption that nothing needs any more fails the gate too. A method named like one of a contract in lt_interfaces takes
the contract's signature, so it may have more than two parameters before the keyword-only ones.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from workspace import ROOT

LIMITS: Final = {
    "file": 400,
    "body": 40,
    "methods": 15,
    "attributes": 8,
    "parameters": 6,
    "positional": 2,
    "nesting": 3,
}
WORDING: Final = {
    "file": "lines",
    "body": "lines in the body",
    "methods": "methods",
    "attributes": "attributes",
    "parameters": "parameters",
    "positional": "parameters before the keyword-only ones",
    "nesting": "levels of nesting",
}
DRAWERS: Final = {"util", "helper", "common", "misc", "manager", "connector", "handler"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match


@dataclass(frozen=True)
class Size:
    """One measured size: which rule it belongs to, whose it is and where."""

    rule: str
    owner: str
    value: int
    place: str

    @property
    def is_over(self) -> bool:
        """Whether the limit of the rule is exceeded."""
        return self.value > LIMITS[self.rule]

    def __str__(self) -> str:
        return f"{self.place}: {self.owner} has {self.value} {WORDING[self.rule]}, the limit is {LIMITS[self.rule]}"


@dataclass(frozen=True)
class Exemption:
    """One line of the exemption file: `rule pattern reason`."""

    rule: str
    pattern: str

    def covers(self, size: Size) -> bool:
        """Whether this line allows that size."""
        return self.rule == size.rule and fnmatchcase(size.owner, self.pattern)


def read_exemptions(text: str) -> list[Exemption]:
    """Read the exemption file; a line without a reason or with an unknown rule raises ValueError."""
    exemptions = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        rule, _, rest = line.partition(" ")
        pattern, _, reason = rest.strip().partition(" ")
        if rule not in LIMITS or not reason.strip():
            message = f"exemption {line!r} must read `rule pattern reason`, rule one of {sorted(LIMITS)}"
            raise ValueError(message)
        exemptions.append(Exemption(rule=rule, pattern=pattern))
    return exemptions


def measure(source: str, *, module: str, path: str) -> Iterator[Size]:
    """Yield every size of one module; owners are named `module` or `module:Class.method`."""
    yield Size("file", module, len(source.splitlines()), path)
    yield from _measure_scope(ast.parse(source), owner=f"{module}:", path=path, in_class=False)


def _measure_scope(scope: ast.AST, *, owner: str, path: str, in_class: bool) -> Iterator[Size]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ClassDef):
            name = owner + node.name
            yield Size("methods", name, len(_methods(node)), f"{path}:{node.lineno}")
            yield Size("attributes", name, len(_attributes(node)), f"{path}:{node.lineno}")
            yield from _measure_scope(node, owner=f"{name}.", path=path, in_class=True)
        elif isinstance(node, Function):
            name = owner + node.name
            yield from _measure_function(node, owner=name, place=f"{path}:{node.lineno}", in_class=in_class)
            yield from _measure_scope(node, owner=f"{name}.", path=path, in_class=False)
        else:
            yield from _measure_scope(node, owner=owner, path=path, in_class=in_class)


def _measure_function(function: Function, *, owner: str, place: str, in_class: bool) -> Iterator[Size]:
    positional = [*function.args.posonlyargs, *function.args.args]
    if in_class and positional and not _has_decorator(function, "staticmethod"):
        positional = positional[1:]
    yield Size("body", owner, _body_lines(function), place)
    yield Size("nesting", owner, _nesting(function.body), place)
    yield Size("parameters", owner, len(positional) + len(function.args.kwonlyargs), place)
    yield Size("positional", owner, len(positional), place)


def _body_lines(function: Function) -> int:
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]  # the docstring, or the dots of an abstract method
    if not body:
        return 0
    return (function.end_lineno or function.lineno) - body[0].lineno + 1


def _nesting(statements: Iterable[ast.AST]) -> int:
    return max((_depth(statement) for statement in statements), default=0)


def _depth(node: ast.AST) -> int:
    if isinstance(node, Function | ast.ClassDef):
        return 0  # measured on its own
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return max(1 + _nesting(node.body), _depth(node.orelse[0]))  # `elif` isn't deeper than its `if`
    return (1 if isinstance(node, Block) else 0) + _nesting(ast.iter_child_nodes(node))


def _methods(node: ast.ClassDef) -> set[str]:
    return {child.name for child in node.body if isinstance(child, Function)}


def _attributes(node: ast.ClassDef) -> set[str]:
    fields = {
        child.target.id
        for child in node.body
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name) and not _is_class_constant(child)
    }
    assigned = {
        child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute)
        and isinstance(child.ctx, ast.Store)
        and isinstance(child.value, ast.Name)
        and child.value.id == "self"
    }
    return fields | assigned


def _is_class_constant(field: ast.AnnAssign) -> bool:
    annotation = ast.unparse(field.annotation)
    return annotation.startswith(("ClassVar", "Final"))


def _has_decorator(function: Function, name: str) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == name for decorator in function.decorator_list)


def drawers(files: Iterable[Path]) -> list[str]:
    """Return a complaint for each module or folder whose name says nothing about what it holds."""
    return [
        f"{file}: a module called {part!r} is a drawer; name it after the concept it holds"
        for file in files
        for part in (*file.parts[:-1], file.stem)
        if {word.rstrip("s") for word in part.split("_")} & DRAWERS
    ]


def contract_methods(sources: Iterable[str]) -> set[str]:
    """Return the names of all methods that classes in those sources define, constructors and the like left out."""
    classes = (node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
    return {name for node in classes for name in _methods(node) if not name.startswith("_")}


def follows_contract(size: Size, contracts: set[str]) -> bool:
    """Whether the size is a signature that isn't its author's to choose."""
    scope, _, name = size.owner.rpartition(".")
    is_special = name.startswith("__") and name != "__init__"
    return size.rule == "positional" and ":" in scope and (name in contracts or is_special)


def budget_problems(sizes: Iterable[Size], exemptions: list[Exemption]) -> list[str]:
    """Return a line for each size that's over its limit without an exemption, and for each exemption without a use."""
    problems = []
    used = set()
    for size in sizes:
        if not size.is_over:
            continue
        covering = [exemption for exemption in exemptions if exemption.covers(size)]
        used.update(covering)
        if not covering:
            problems.append(str(size))
    problems += [
        f"tools/budget_exemptions.txt: nothing needs `{exemption.rule} {exemption.pattern}` any more, remove it"
        for exemption in exemptions
        if exemption not in used
    ]
    return problems


def _source_files() -> Iterator[tuple[Path, str]]:
    for root in (*sorted(ROOT.glob("packages/*/src")), ROOT / "tools"):
        for file in sorted(root.rglob("*.py")):
            if "tests" not in file.relative_to(root).parts:
                yield file, ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def main() -> int:
    """Measure the monorepo and print what's wrong."""
    exemptions = read_exemptions((ROOT / "tools/budget_exemptions.txt").read_text())
    contracts = contract_methods(file.read_text() for file in ROOT.glob("packages/lt-interfaces/src/**/*.py"))
    sizes = (
        size
        for file, module in _source_files()
        for size in measure(file.read_text(), module=module, path=str(file.relative_to(ROOT)))
        if not follows_contract(size, contracts)
    )
    problems = budget_problems(sizes, exemptions)
    problems += drawers(
        file.relative_to(ROOT) for folder in ("packages", "tools") for file in ROOT.glob(f"{folder}/**/*.py")
    )
    print("\n".join([*problems, f"budgets: {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
