"""Finding dotted paths of Lightning's in configuration files (YAML, JSON, TOML), by their text.

The files aren't parsed: a path is found where it's the whole of a value or key, so that everything else, comments and
order included, stays as it is when a path is replaced.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from lt_compat.modules import ROOTS

_DOTTED: Final = rf"(?:{'|'.join(ROOTS)})(?:\.\w+)+"
_PATH: Final = re.compile(
    rf"""
    (?P<quote> ["'] ) (?P<quoted> {_DOTTED} ) (?P=quote)
    | (?: ^ | [:\-?][ \t] | [,\[{{] ) [ \t]*
      (?P<plain> {_DOTTED} )
      [ \t]* (?= \r?$ | [,\]}}] | :[ \t\r\n] | (?<=[ \t])\# )
    """,
    re.VERBOSE | re.MULTILINE | re.ASCII,
)
_COMMENT: Final = re.compile(r"^[^\"'\n]*(?:^|[ \t])#", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ConfiguredPath:
    """A dotted path in a configuration."""

    path: str
    line: int


def configured_paths(text: str) -> Iterator[ConfiguredPath]:
    """Yield each path, in order.

    >>> list(configured_paths("class_path: lightning.pytorch.Trainer  # its default"))
    [ConfiguredPath(path='lightning.pytorch.Trainer', line=1)]
    """
    for start, path in _found(text):
        yield ConfiguredPath(path, text.count("\n", 0, start) + 1)


def with_paths_replaced(text: str, replacement: Callable[[str], str | None]) -> str:
    """Return the text with each path replaced by what a function answers for it; ``None`` leaves it.

    >>> with_paths_replaced("- lightning.pytorch.Trainer", {"lightning.pytorch.Trainer": "lt_core.Trainer"}.get)
    '- lt_core.Trainer'
    """
    parts, done = [], 0
    for start, path in _found(text):
        if (new := replacement(path)) is not None:
            parts += [text[done:start], new]
            done = start + len(path)
    return "".join([*parts, text[done:]])


def _found(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each path begins, with the path."""
    for found in _PATH.finditer(text):
        which = "quoted" if found["quoted"] else "plain"
        line = text[text.rfind("\n", 0, found.start(which)) + 1 : found.start(which)]
        if not _COMMENT.match(line):
            yield found.start(which), found[which]
