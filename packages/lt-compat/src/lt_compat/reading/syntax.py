"""A Python file's syntax tree, with what is asked of it: offsets, scopes, and under which circumstances a line runs."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import libcst as cst
from libcst.metadata import (
    Assignment,
    BaseAssignment,
    ByteSpanPositionProvider,
    ExpressionContext,
    ExpressionContextProvider,
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    Scope,
    ScopeProvider,
)

from lt_compat.reading.imports import imported, written
from lt_compat.reading.resolution import resolve

_PROVIDERS: Final = (
    ByteSpanPositionProvider,
    ExpressionContextProvider,
    ParentNodeProvider,
    PositionProvider,
    ScopeProvider,
)
UNREADABLE: Final = (OSError, SyntaxError, ValueError, RecursionError)
"""What's raised for a file that can't be read or parsed."""
_IMPORT_ERRORS: Final = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is used."""

    line: int
    is_optional: bool = False
    """Under `try`, where a failing import is caught."""
    is_for_types: bool = False
    """Under `if TYPE_CHECKING`, which never runs."""


@dataclass(frozen=True, slots=True)
class Dotted:
    """A dotted name as it's written, with its place in the bytes of the file."""

    parts: tuple[str, ...]
    start: int
    ends: tuple[int, ...]
    """Where each part ends."""

    @property
    def path(self) -> str:
        """The whole name."""
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Syntax:
    """A parsed file."""

    module: cst.Module
    code: bytes
    """The file's text in UTF-8, which all offsets count in."""
    nodes: Sequence[cst.CSTNode]
    """Every node, in the order of the text."""
    _facts: Mapping[Any, Mapping[cst.CSTNode, Any]]

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return where a node begins and ends in `code`."""
        span = self._facts[ByteSpanPositionProvider][node]
        return span.start, span.start + span.length

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node that holds this one."""
        return self._facts[ParentNodeProvider].get(node)

    def scope(self, node: cst.CSTNode) -> Scope | None:
        """Return the scope whose names a node sees."""
        scope: Scope | None = self._facts[ScopeProvider].get(node)
        return scope

    def scopes_that_bind(self, name: str) -> set[Scope]:
        """Return the scopes of the file that a name is bound in."""
        scopes = {scope for scope in self._facts[ScopeProvider].values() if scope is not None}
        return {scope for scope in scopes if scope.assignments[name]}

    def binder(self, assignment: BaseAssignment) -> cst.CSTNode | None:
        """Return the statement that binds a name: it's around the name and its target, or an import itself."""
        if isinstance(assignment, ImportAssignment) or not isinstance(assignment, Assignment):
            return getattr(assignment, "node", None)
        around = (parent for parent, _ in self.around(assignment.node))
        return next((parent for parent in around if isinstance(parent, cst.Assign | cst.AnnAssign)), assignment.node)

    def is_looked_up(self, name: cst.Name) -> bool:
        """Say whether a name is a value, or deleted: neither assigned, nor a keyword or part of something else."""
        context = self._facts[ExpressionContextProvider].get(name)
        return context in {ExpressionContext.LOAD, ExpressionContext.DEL}

    def dotted(self, node: cst.CSTNode) -> Dotted:
        """Return a dotted name's parts and places."""
        parts = written(node)
        ends = [self.span(node)[1]]
        while isinstance(node, cst.Attribute):
            node = node.value
            ends.append(self.span(node)[1])
        return Dotted(parts, self.span(node)[0], tuple(reversed(ends)))

    def block(self, statement: cst.CSTNode) -> cst.CSTNode | None:
        """Return the block that a simple statement's line is in."""
        line = self.parent(statement)
        return self.parent(line) if line is not None else None

    def is_top_level(self, statement: cst.CSTNode) -> bool:
        """Say whether a simple statement always runs when the file is run or imported."""
        return self.block(statement) is self.module

    def place(self, node: cst.CSTNode) -> Place:
        """Return where a node stands, and whether a program needs it."""
        line: int = self._facts[PositionProvider][node].start.line
        around = list(self.around(node))
        optional = any(_is_guarded(parent, child) for parent, child in around)
        for_types = any(_is_for_types(parent, child) for parent, child in around)
        return Place(line, optional, for_types)

    def around(self, node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
        """Yield each node around one, innermost first, with its child on the way to it."""
        child = node
        while (parent := self.parent(child)) is not None:
            yield parent, child
            child = parent


def reading_problem(error: Exception) -> str:
    """Say in a few words why a file couldn't be read."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    return f"{type(error).__name__}: {error}"


def parse(source: bytes) -> Syntax:
    """Parse a file's source.

    Raises:
        SyntaxError: it isn't Python.
        ValueError: it isn't text in the encoding that it declares.
    """
    try:
        module = cst.parse_module(source)
    except cst.ParserSyntaxError as error:
        ast.parse(source)  # Python itself names the place and the reason better
        raise SyntaxError(error.message) from error
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    return Syntax(module, module.code.encode(), list(_nodes(module)), wrapper.resolve_many(_PROVIDERS))


def _nodes(module: cst.Module) -> Iterator[cst.CSTNode]:
    waiting: list[cst.CSTNode] = [module]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def _is_guarded(parent: cst.CSTNode, child: cst.CSTNode) -> bool:
    if not isinstance(parent, cst.Try):
        return False
    if child is parent.body:
        return any(_catches_import_errors(handler) for handler in parent.handlers)
    if isinstance(child, cst.ExceptHandler) and _catches_import_errors(child):
        # a second choice counts only where the first one fails
        first = [one for statement in _imports(parent.body) for one in imported(statement)]
        return bool(first) and not any(resolve(one.path).is_absent for one in first)
    return False


def _imports(block: cst.BaseSuite) -> Iterator[cst.Import | cst.ImportFrom]:
    for line in block.body:
        statements = line.body if isinstance(line, cst.SimpleStatementLine) else [line]
        yield from (one for one in statements if isinstance(one, cst.Import | cst.ImportFrom))


def _catches_import_errors(handler: cst.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = [one.value for one in handler.type.elements] if isinstance(handler.type, cst.Tuple) else [handler.type]
    return any(parts[-1] in _IMPORT_ERRORS for kind in kinds if (parts := written(kind)))


def _is_for_types(parent: cst.CSTNode, child: cst.CSTNode) -> bool:
    return isinstance(parent, cst.If) and child is parent.body and written(parent.test)[-1:] == ("TYPE_CHECKING",)
