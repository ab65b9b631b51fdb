"""Writing import statements anew, with their comments."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import libcst as cst

from lt_compat.reading.imports import Statement
from lt_compat.reading.syntax import Syntax

_PRAGMA: Final = re.compile(r"#\s*(noqa|type:|pyright:|pylint:|ruff:|isort:|pragma:)", re.IGNORECASE)
_WIDTH: Final = 100
"""A generated line that would be longer is put into parentheses."""


@dataclass(frozen=True, slots=True)
class Item:
    """One name of a statement, as written (`Timer as T`), with the comments that belong to it."""

    text: str
    above: tuple[str, ...] = ()
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Comments:
    """The comments between the parentheses of an import, by the names they belong to."""

    opening: str
    items: tuple[tuple[tuple[str, ...], str], ...]
    """For each name: the lines above it (of the last one, those below it too), and what's beside it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The line that a statement stands in."""

    indent: str
    newline: str
    is_alone: bool
    """Whether nothing else stands in the line, so that there's room for lines below."""
    comment: str
    """A comment behind the statement."""

    @property
    def pragma(self) -> str:
        """The comment if it speaks to a tool, and so holds for each line that the statement becomes."""
        return self.comment if _PRAGMA.match(self.comment) else ""

    def joined(self, statements: Sequence[str]) -> str:
        """Return the statements as they stand in the file: below each other, or in one line."""
        if not self.is_alone:
            return "; ".join(statements)
        beside = f"  {self.pragma}" if self.pragma else ""
        return f"{beside}{self.newline}{self.indent}".join(statements)


def frame_of(statement: Statement, syntax: Syntax) -> Frame:
    """Return the surroundings of a statement."""
    start, _ = syntax.span(statement)
    before = syntax.code[syntax.code.rfind(b"\n", 0, start) + 1 : start].decode()
    line = syntax.parent(statement)
    alone = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 and not before.strip()
    comment = line.trailing_whitespace.comment if isinstance(line, cst.SimpleStatementLine) else None
    indent = before[: len(before) - len(before.lstrip())]
    return Frame(indent, syntax.module.default_newline, alone, comment.value if comment else "")


def is_multiline(statement: cst.Import | cst.ImportFrom, syntax: Syntax) -> bool:
    """Say whether a statement goes over several lines."""
    start, end = syntax.span(statement)
    return b"\n" in syntax.code[start:end]


def comments_in(statement: cst.ImportFrom) -> Comments:
    """Return the comments between a statement's parentheses."""
    assert not isinstance(statement.names, cst.ImportStar)
    spaces = [statement.lpar.whitespace_after if statement.lpar else None]
    for alias in statement.names:
        spaces.append(alias.comma.whitespace_after if isinstance(alias.comma, cst.Comma) else None)
    if statement.rpar and spaces[-1] is None:
        spaces[-1] = statement.rpar.whitespace_before
    above = [_below(space) for space in spaces]
    above[-2:] = [(*above[-2], *above[-1])]
    items = zip(above, map(_beside, spaces[1:]), strict=True)
    return Comments(_beside(spaces[0]), tuple(items))


def from_import(module: str, items: Sequence[Item], *, frame: Frame, multiline: bool = False, opening: str = "") -> str:
    """Return `from module import ...`, in one line if it's short and no comment stands in the way."""
    one_line = f"from {module} import {', '.join(item.text for item in items)}"
    commented = any(item.above or item.beside for item in items)
    if not commented and not (multiline and len(items) > 1) and len(frame.indent + one_line) <= _WIDTH:
        return one_line
    if not frame.is_alone and not commented:
        return one_line
    inner = f"{frame.newline}{frame.indent}    "
    lines = inner.join(line for item in items for line in _item_lines(item))
    return f"from {module} import ({'  ' + opening if opening else ''}{inner}{lines}{frame.newline}{frame.indent})"


def _item_lines(item: Item) -> Iterator[str]:
    yield from item.above
    yield f"{item.text}," + (f"  {item.beside}" if item.beside else "")


def _beside(space: cst.BaseParenthesizableWhitespace | None) -> str:
    if isinstance(space, cst.ParenthesizedWhitespace) and space.first_line.comment:
        return space.first_line.comment.value
    return ""


def _below(space: cst.BaseParenthesizableWhitespace | None) -> tuple[str, ...]:
    lines = space.empty_lines if isinstance(space, cst.ParenthesizedWhitespace) else ()
    return tuple(line.comment.value for line in lines if line.comment)
