"""Gate: files, functions and classes stay within their size budgets, and no module is a drawer.

Signatures and docstrings don't count. What may be larger is listed in budget_exemptions.txt, one reason each; an
exemption that nothing needs any more fails the gate too.

Contracts in lt_interfaces are measured where they stand. Outside, a method named like one of theirs counts neither for
the width of its class nor for the order of its parameters: both are the contract's choice.
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
# So few may all be given by position; with more, those after the second are keyword-only.
NUM_PARAMETERS_BY_POSITION: Final = 3
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


@dataclass(frozen=True)
class Module:
    """One source file to measure; owners of sizes are named `module` or `module:Class.method`."""

    name: str
    path: str
    source: str
    contract_methods: frozenset[str] = frozenset()

    def sizes(self) -> Iterator[Size]:
        """Yield every size of the file, its classes and its functions."""
        tree = ast.parse(self.source)
        yield Size("file", self.name, len(self.source.splitlines()) - _free_lines(tree), self.path)
        yield from self._scope(tree, owner=f"{self.name}:")

    def _scope(self, scope: ast.AST, *, owner: str, in_class: bool = False) -> Iterator[Size]:
        for node in ast.iter_child_nodes(scope):
            if isinstance(node, ast.ClassDef):
                yield from self._class(node, owner=owner + node.name)
                yield from self._scope(node, owner=f"{owner}{node.name}.", in_class=True)
            elif isinstance(node, Function):
                yield from self._function(node, owner=owner + node.name, in_class=in_class)
                yield from self._scope(node, owner=f"{owner}{node.name}.")
            else:
                yield from self._scope(node, owner=owner, in_class=in_class)

    def _class(self, node: ast.ClassDef, *, owner: str) -> Iterator[Size]:
        place = f"{self.path}:{node.lineno}"
        yield Size("methods", owner, len(_methods(node) - self.contract_methods), place)
        yield Size("attributes", owner, len(_attributes(node)), place)

    def _function(self, function: Function, *, owner: str, in_class: bool) -> Iterator[Size]:
        place = f"{self.path}:{function.lineno}"
        positional = [*function.args.posonlyargs, *function.args.args]
        if in_class and positional and not _has_decorator(function, "staticmethod"):
            positional = positional[1:]
        num_parameters = len(positional) + len(function.args.kwonlyargs)
        yield Size("body", owner, _body_lines(function), place)
        yield Size("nesting", owner, _nesting(function.body), place)
        yield Size("parameters", owner, num_parameters, place)
        if num_parameters > NUM_PARAMETERS_BY_POSITION and not (in_class and self._is_given(function.name)):
            yield Size("positional", owner, len(positional), place)

    def _is_given(self, name: str) -> bool:
        is_special = name.startswith("__") and name != "__init__"
        return is_special or name in self.contract_methods


def _free_lines(tree: ast.Module) -> int:
    """Return how many lines of a file are docstrings and signatures, decorators included."""
    free: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | Function):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            free.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        if isinstance(node, Function):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            free.update(range(start, node.body[0].lineno))
    return len(free)


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


def methods_in(sources: Iterable[str]) -> frozenset[str]:
    """Return the names of all methods that classes in those sources define, constructors and the like left out."""
    classes = (node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
    return frozenset(name for node in classes for name in _methods(node) if not name.startswith("_"))


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


def modules() -> Iterator[Module]:
    """Yield every source file of the packages and the tools, tests left out."""
    interfaces = ROOT / "packages/lt-interfaces/src"
    contracts = methods_in(file.read_text() for file in interfaces.rglob("*.py"))
    for root in (*sorted(ROOT.glob("packages/*/src")), ROOT / "tools"):
        for file in sorted(root.rglob("*.py")):
            place = file.relative_to(root)
            if "tests" not in place.parts:
                name = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
                given = frozenset[str]() if root == interfaces else contracts
                yield Module(name, str(file.relative_to(ROOT)), file.read_text(), given)


def main() -> int:
    """Measure the monorepo and print what's wrong."""
    exemptions = read_exemptions((ROOT / "tools/budget_exemptions.txt").read_text())
    sizes = (size for module in modules() for size in module.sizes())
    problems = budget_problems(sizes, exemptions)
    problems += drawers(
        file.relative_to(ROOT) for folder in ("packages", "tools") for file in ROOT.glob(f"{folder}/**/*.py")
    )
    print("\n".join([*problems, f"budgets: {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
