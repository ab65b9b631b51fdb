"""What a statement binds to something of Lightning's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import libcst as cst

from lt_compat.modules import ROOTS

STAR: Final = "*"
"""The local name that `from module import *` stands for."""


Statement = cst.Import | cst.ImportFrom | cst.Assign
"""What binds a name to something imported; an assignment does by `importlib.import_module("lightning")`."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One name that a statement binds."""

    statement: Statement
    alias: cst.ImportAlias | cst.SimpleString | None
    """The part of the statement that says what's imported; ``None``: a star."""
    local: str
    bound: str
    """What the local name stands for."""
    path: str
    """What the statement names: of `import lightning.pytorch`, which binds `lightning`, the whole."""


def imported(statement: Statement) -> Iterator[Imported]:
    """Yield each name that a statement binds to something of Lightning's.

    >>> statement = cst.parse_module("from lightning.pytorch import Trainer as T, Callback").body[0].body[0]
    >>> [(one.local, one.path) for one in imported(statement)]
    [('T', 'lightning.pytorch.Trainer'), ('Callback', 'lightning.pytorch.Callback')]
    """
    match statement:
        case cst.Import():
            found = _by_import(statement)
        case cst.ImportFrom():
            found = _by_from(statement)
        case _:
            found = _by_assignment(statement)
    return (one for one in found if is_lightning(one.path))


def is_lightning(path: str) -> bool:
    """Say whether a dotted name begins with one of Lightning's packages."""
    return path.partition(".")[0] in ROOTS


def written(node: cst.CSTNode) -> tuple[str, ...]:
    """Return the parts of a dotted name; nothing if a node is something else.

    >>> written(cst.parse_expression("pl.callbacks.Timer"))
    ('pl', 'callbacks', 'Timer')
    >>> written(cst.parse_expression("make().Timer"))
    ()
    """
    if isinstance(node, cst.Name):
        return (node.value,)
    if isinstance(node, cst.Attribute) and (before := written(node.value)):
        return (*before, node.attr.value)
    return ()


def _by_import(statement: cst.Import) -> Iterator[Imported]:
    for alias in statement.names:
        path, local = alias.evaluated_name, alias.evaluated_alias
        root = path.partition(".")[0]
        yield Imported(statement, alias, local or root, path if local else root, path)


def _by_from(statement: cst.ImportFrom) -> Iterator[Imported]:
    if statement.relative or statement.module is None:
        return
    module = ".".join(written(statement.module))
    if isinstance(statement.names, cst.ImportStar):
        yield Imported(statement, None, STAR, module, module)
        return
    for alias in statement.names:
        path = f"{module}.{alias.evaluated_name}"
        yield Imported(statement, alias, alias.evaluated_alias or alias.evaluated_name, path, path)


def _by_assignment(statement: cst.Assign) -> Iterator[Imported]:
    match statement:
        case cst.Assign(
            targets=[cst.AssignTarget(target=cst.Name(value=local))],
            value=cst.Call(func=function, args=[cst.Arg(keyword=None, value=cst.SimpleString() as string)]),
        ) if written(function)[-1:] == ("import_module",):
            yield Imported(statement, string, local, string.raw_value, string.raw_value)
