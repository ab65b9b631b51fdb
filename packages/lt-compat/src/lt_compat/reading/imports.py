"""What an import statement binds to something of Lightning's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import libcst as cst

from lt_compat.modules import ROOTS

STAR: Final = "*"
"""The local name that `from module import *` stands for."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One name that an import statement binds."""

    statement: cst.Import | cst.ImportFrom
    alias: cst.ImportAlias | None
    """The part of the statement that binds it; ``None``: a star."""
    local: str
    bound: str
    """What the local name stands for."""
    path: str
    """What the statement names: of `import lightning.pytorch`, which binds `lightning`, the whole."""


def imported(statement: cst.Import | cst.ImportFrom) -> Iterator[Imported]:
    """Yield each name that a statement binds to something of Lightning's.

    >>> statement = cst.parse_module("from lightning.pytorch import Trainer as T, Callback").body[0].body[0]
    >>> [(one.local, one.path) for one in imported(statement)]
    [('T', 'lightning.pytorch.Trainer'), ('Callback', 'lightning.pytorch.Callback')]
    """
    found = _by_import(statement) if isinstance(statement, cst.Import) else _by_from(statement)
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
