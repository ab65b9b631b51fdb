"""Finding what a Python file uses of Lightning's."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import libcst as cst
from libcst.metadata import Scope

from lt_compat.modules import ROOTS
from lt_compat.names import Owner, names_of
from lt_compat.reading.imports import STAR, Imported, Statement, imported, is_lightning, written
from lt_compat.reading.resolution import Resolved, Standing, resolve
from lt_compat.reading.syntax import Dotted, Place, Syntax, parse

_PATH: Final = re.compile(rf"(?:{'|'.join(ROOTS)})(?:\.\w+)*", re.ASCII)
_CHAIN: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)+", re.ASCII)


class Rivals(Enum):
    """What a name is bound to elsewhere in its scope, beside something of Lightning's."""

    NOTHING = auto()
    NONE = auto()
    """`None`, as where an import fails."""
    OTHERS = auto()


@dataclass(frozen=True, slots=True)
class Binding:
    """A local name that a statement binds to something of Lightning's."""

    name: Imported
    scope: Scope | None
    """Where the name lives: of one that's declared `global`, not the function with the statement."""
    is_declared: bool
    """Whether the name is declared `global` or `nonlocal` where it's bound."""
    rivals: Rivals
    place: Place

    @property
    def is_module(self) -> bool:
        """Whether it's a module, whose names are used through it."""
        return self.name.local != STAR and resolve(self.name.bound).standing is Standing.MODULE


@dataclass(frozen=True, slots=True)
class Use:
    """A dotted name that begins with something of Lightning's."""

    bindings: tuple[Binding, ...]
    """What it begins with; more than one where branches bind the same name."""
    dotted: Dotted
    place: Place
    may_be_any_module: bool
    """Whether a name alone is only deleted or asked whether it's there, so that any module may stand behind it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """What of Lightning's may be meant."""
        return tuple(dict.fromkeys(_join(binding.name, self.dotted.parts) for binding in self.bindings))


@dataclass(frozen=True, slots=True)
class PathString:
    """A string that is a dotted path of Lightning's."""

    dotted: Dotted
    passed_to: str
    """The function that it's an argument of, as written (`importlib.import_module`), or ``""``."""
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """A call of something of Lightning's."""

    callee: Resolved
    keywords: tuple[str, ...]
    """The arguments given by name; ``""`` alone: a call without any argument."""
    place: Place


@dataclass(frozen=True, slots=True)
class Method:
    """A method in a class that's made from one of Lightning's."""

    base: Resolved
    name: str
    is_called: bool
    """Whether the class itself calls it, so that it's no hook, whatever its name."""
    place: Place


@dataclass(slots=True)
class Usage:
    """What one file uses of Lightning's, in the order of its text."""

    syntax: Syntax
    bindings: list[Binding] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    strings: list[PathString] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    identifiers: set[str] = field(default_factory=set)
    """Every name that the file uses by itself: a new one must be none of them."""


def read_usage(source: bytes) -> Usage:
    """Read a file's source.

    Raises:
        SyntaxError: it isn't Python.
        ValueError: it isn't text in the encoding that it declares.
    """
    syntax = parse(source)
    usage = Usage(syntax, _bindings(syntax))
    lookup = _Lookup(syntax, usage.bindings)
    for node in syntax.nodes:
        if isinstance(node, cst.Name) and not _is_attribute(node, syntax):
            usage.identifiers.add(node.value)
        usage.uses += _uses(node, syntax, lookup)
        usage.strings += _strings(node, syntax)
        usage.calls += _calls(node, syntax, lookup)
        usage.methods += _methods(node, syntax, lookup)
    return usage


class _Lookup:
    """What names mean where they're used."""

    def __init__(self, syntax: Syntax, bindings: Iterable[Binding]) -> None:
        self._syntax = syntax
        self._by_name: dict[tuple[cst.CSTNode | None, str], list[Binding]] = {}
        self._stars: list[Binding] = []
        self._classes = {node.name.value: node for node in syntax.nodes if isinstance(node, cst.ClassDef)}
        for binding in bindings:
            self._by_name.setdefault((binding.name.statement, binding.name.local), []).append(binding)
            if binding.name.local == STAR:
                self._stars.append(binding)

    def bindings(self, name: str, node: cst.CSTNode) -> tuple[Binding, ...]:
        """Return what of Lightning's a name is bound to, as seen from a node."""
        scope = self._syntax.scope(node)
        if scope is None:
            return ()
        if not (assignments := scope[name]):
            return self._by_star(name)
        statements = map(self._syntax.binder, assignments)
        return tuple(binding for statement in statements for binding in self._by_name.get((statement, name), ()))

    def resolved(self, node: cst.CSTNode) -> Resolved | None:
        """Return what of Lightning's an expression is, if it's a dotted name of something of Lightning's."""
        parts = written(node)
        bindings = self.bindings(parts[0], node) if parts else ()
        return resolve(_join(bindings[0].name, parts)) if bindings else None

    def base(self, cls: cst.ClassDef) -> Resolved | None:
        """Return the first of Lightning's classes that a class is made from, also by way of classes of the file."""
        waiting, seen = [cls], set[cst.ClassDef]()
        while waiting:
            cls = waiting.pop(0)
            seen.add(cls)
            for argument in cls.bases:
                if found := self.resolved(argument.value):
                    return found
                local = self._classes.get(".".join(written(argument.value)))
                waiting += [local] if local and local not in seen else []
        return None

    def _by_star(self, name: str) -> tuple[Binding, ...]:
        offering = [star for star in self._stars if name in names_of(resolve(star.name.path).key)]
        return tuple(offering[-1:])


def offered_by_star(module: str) -> dict[str, Owner]:
    """Return what `from module import *` binds."""
    names = names_of(resolve(module).key)
    return {name: entry for name, entry in names.items() if isinstance(entry, Owner) and not name.startswith("_")}


def _bindings(syntax: Syntax) -> list[Binding]:
    return [
        _binding(one, syntax)
        for statement in syntax.nodes
        if isinstance(statement, Statement)
        for one in imported(statement)
    ]


def _binding(name: Imported, syntax: Syntax) -> Binding:
    here = syntax.scope(name.statement)
    assignments = list(here[name.local]) if here else []
    scope = assignments[0].scope if assignments else here
    others = [binder for one in assignments if not _is_import(binder := syntax.binder(one), name.local)]
    if all(isinstance(other, cst.Assign | cst.AnnAssign) and _is_none(other.value) for other in others):
        rivals = Rivals.NONE if others else Rivals.NOTHING
    else:
        rivals = Rivals.OTHERS
    return Binding(name, scope, scope is not here, rivals, syntax.place(name.alias or name.statement))


def _is_import(binder: cst.CSTNode | None, local: str) -> bool:
    return isinstance(binder, Statement) and any(one.local == local for one in imported(binder))


def _is_none(value: cst.BaseExpression | None) -> bool:
    return isinstance(value, cst.Name) and value.value == "None"


def _uses(node: cst.CSTNode, syntax: Syntax, lookup: _Lookup) -> Iterator[Use]:
    """Yield a use for the longest dotted name that begins at a node; nothing for parts of one."""
    if isinstance(node, cst.SimpleString):
        yield from _uses_in_string(node, syntax, lookup)
    elif (parts := written(node)) and not _is_part(node, syntax) and (found := lookup.bindings(parts[0], node)):
        yield Use(found, syntax.dotted(node), syntax.place(node), _may_be_any_module(node, syntax))


def _is_attribute(node: cst.Name, syntax: Syntax) -> bool:
    parent = syntax.parent(node)
    return isinstance(parent, cst.Attribute) and parent.attr is node


def _is_part(node: cst.CSTNode, syntax: Syntax) -> bool:
    parent = syntax.parent(node)
    if isinstance(parent, cst.Attribute) or _stands_in_import(node, syntax):
        return True
    return isinstance(node, cst.Name) and not syntax.is_looked_up(node)


def _stands_in_import(node: cst.CSTNode, syntax: Syntax) -> bool:
    return isinstance(syntax.parent(node), cst.ImportAlias | cst.AsName | cst.ImportFrom)


def _may_be_any_module(node: cst.CSTNode, syntax: Syntax) -> bool:
    parent = syntax.parent(node)
    match parent:
        case cst.Del() | cst.UnaryOperation(operator=cst.Not()):
            return True
        case cst.BooleanOperation():
            return _may_be_any_module(parent, syntax)
        case cst.If() | cst.IfExp() | cst.Assert() | cst.While():
            return parent.test is node
        case cst.Comparison(comparisons=[cst.ComparisonTarget(comparator=cst.Name(value="None"))]):
            return True
    return False


def _uses_in_string(node: cst.SimpleString, syntax: Syntax, lookup: _Lookup) -> Iterator[Use]:
    """Yield the dotted names in an annotation, and in a string that's nothing but one of an alias (`"pl.Trainer"`)."""
    text = "" if isinstance(syntax.parent(node), cst.Expr) else node.raw_value
    whole = [found for found in [_CHAIN.fullmatch(text)] if found and not is_lightning(text)]
    for found in _CHAIN.finditer(text) if _is_annotation(node, syntax) else whole:
        if bindings := lookup.bindings(found.group().partition(".")[0], node):
            yield Use(bindings, _dotted_in_string(found, node, syntax), syntax.place(node), False)


def _strings(node: cst.CSTNode, syntax: Syntax) -> Iterator[PathString]:
    if not isinstance(node, cst.SimpleString) or not (found := _PATH.fullmatch(node.raw_value)) or "b" in node.prefix:
        return
    parent = syntax.parent(node)
    if not isinstance(parent, cst.Expr | cst.ConcatenatedString) and not _is_annotation(node, syntax):
        call = syntax.parent(parent) if isinstance(parent, cst.Arg) else None
        passed_to = ".".join(written(call.func)) if isinstance(call, cst.Call) else ""
        assigned = syntax.parent(call) if call else None
        if not isinstance(assigned, cst.Assign) or not any(imported(assigned)):
            yield PathString(_dotted_in_string(found, node, syntax), passed_to, syntax.place(node))


def _is_annotation(node: cst.SimpleString, syntax: Syntax) -> bool:
    return any(isinstance(parent, cst.Annotation) for parent, _ in syntax.around(node))


def _dotted_in_string(found: re.Match[str], node: cst.SimpleString, syntax: Syntax) -> Dotted:
    before = node.prefix + node.quote + node.raw_value[: found.start()]
    start = syntax.span(node)[0] + len(before.encode())
    parts = tuple(found.group().split("."))
    ends = tuple(start + len(".".join(parts[:count])) for count in range(1, len(parts) + 1))
    return Dotted(parts, start, ends)


def _calls(node: cst.CSTNode, syntax: Syntax, lookup: _Lookup) -> Iterator[Call]:
    if isinstance(node, cst.Call) and (callee := lookup.resolved(node.func)):
        keywords = tuple(argument.keyword.value for argument in node.args if argument.keyword)
        yield Call(callee, keywords if node.args else ("",), syntax.place(node))


def _methods(node: cst.CSTNode, syntax: Syntax, lookup: _Lookup) -> Iterator[Method]:
    if not isinstance(node, cst.FunctionDef):
        return
    owners = (parent for parent, _ in syntax.around(node) if isinstance(parent, cst.ClassDef | cst.FunctionDef))
    owner = next(owners, None)
    if isinstance(owner, cst.ClassDef) and (base := lookup.base(owner)):
        yield Method(base, node.name.value, _is_called(node, owner, syntax), syntax.place(node.name))


def _is_called(method: cst.FunctionDef, cls: cst.ClassDef, syntax: Syntax) -> bool:
    (start, end), (method_start, method_end) = syntax.span(cls), syntax.span(method)
    others = syntax.code[start:method_start] + b" " + syntax.code[method_end:end]
    return re.search(rf"\.{method.name.value}\b".encode(), others) is not None


def _join(name: Imported, parts: tuple[str, ...]) -> str:
    """Return the path of Lightning's that a dotted name stands for, given what its root is."""
    behind = parts if name.local == STAR else parts[1:]
    return ".".join((name.bound, *behind))
