"""Rewriting Lightning's names to lt's in one file, with everything else left as it is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lt_compat.migration.aliases import Left, plan_aliases, why_not_moved
from lt_compat.migration.edits import Edit, apply
from lt_compat.migration.imports import rewritten
from lt_compat.names import Owner, names_of
from lt_compat.reading.resolution import Resolved, Standing, resolve
from lt_compat.reading.sources import PYTHON, mentions_lightning
from lt_compat.reading.syntax import UNREADABLE, parse, reading_problem
from lt_compat.reading.text_configs import configured_paths, with_paths_replaced
from lt_compat.reading.usage import PathString, read_usage

_IMPORTING: Final = {"import_module", "__import__", "find_spec"}
_LOGGING: Final = {"getLogger"}


@dataclass(frozen=True, slots=True)
class MigratedFile:
    """What one file becomes."""

    file: Path
    before: bytes
    after: bytes
    left: tuple[Left, ...] = ()
    """What stays Lightning's, and why."""
    packages: frozenset[str] = frozenset()
    """The distributions that the result needs."""
    problem: str = ""
    """Why the file couldn't be read."""

    @property
    def is_changed(self) -> bool:
        """Whether anything was rewritten."""
        return self.before != self.after


@dataclass(slots=True)
class _Result:
    edits: list[Edit] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)


def migrate_file(file: Path) -> MigratedFile:
    """Read one file and say what it becomes; nothing is written. What can't be read is told, not raised."""
    source = b""
    try:
        source = file.read_bytes()
        if not mentions_lightning(source):
            return MigratedFile(file, source, source)
        after, result = _python(source) if file.suffix in PYTHON else _config(source)
    except UNREADABLE as error:
        return MigratedFile(file, source, source, problem=reading_problem(error))
    left = tuple(sorted(set(result.left), key=lambda one: one.line))
    packages = frozenset(_distribution(module) for module in result.modules)
    return MigratedFile(file, source, after, left, packages)


def migrate(source: bytes) -> bytes:
    r"""Return what a Python file's source becomes.

    Raises:
        SyntaxError: it isn't Python.

    >>> migrate(b"from lightning.pytorch import Trainer  # the loop")
    b'from lt_core import Trainer  # the loop'
    """
    return _python(source)[0]


def _python(source: bytes) -> tuple[bytes, _Result]:
    usage = read_usage(source)
    result = _Result()
    plans = plan_aliases(usage)
    for plan in plans:
        result.left += plan.left
        result.edits += plan.edits
    for one in rewritten(usage, plans):
        result.left += one.left
        result.edits += one.edits
        result.modules |= one.modules
    for string in usage.strings:
        _replace_string(string, result)
    if not result.edits:
        return source, result
    module = usage.syntax.module
    if module.bytes != source:
        message = "libcst wouldn't give back the file as it is, byte for byte"
        raise ValueError(message)
    after = apply(result.edits, usage.syntax.code).decode().encode(module.encoding)
    parse(after)  # whatever goes wrong here mustn't reach the file
    return after, result


def _replace_string(string: PathString, result: _Result) -> None:
    called, line = string.passed_to.rpartition(".")[2], string.place.line
    name = resolve(string.dotted.path)
    new = moved_path(name) if name.owner else _only_module(name) if called in _IMPORTING else None
    if new is not None:
        result.edits.append(Edit(string.dotted.start, string.dotted.ends[-1], new))
        result.modules.add(new)
    elif called in _LOGGING:
        result.left.append(Left(line, name.path, "The logger of lt is called `lt`.", is_imported=False))
    elif called in _IMPORTING or (name.is_absent and name.path.count(".") > 1):
        result.left.append(Left(line, name.path, why_not_moved(name)))


def moved_path(name: Resolved) -> str | None:
    """Return a name's dotted path in lt; ``None``: lt doesn't have it."""
    return ".".join((name.owner.module, name.owner.name, *name.attributes)) if name.owner else None


def _only_module(name: Resolved) -> str | None:
    """Return the one module of lt that has all of a module's names, by the same names."""
    entries = names_of(name.key).items() if name.standing is Standing.MODULE else ()
    owned = [(known, entry) for known, entry in entries if isinstance(entry, Owner)]
    modules = {entry.module for _, entry in owned}
    same = all(known == entry.name for known, entry in owned)
    return modules.pop() if len(modules) == 1 and same else None


def _config(source: bytes) -> tuple[bytes, _Result]:
    text, result = source.decode(), _Result()
    for found in configured_paths(text):
        name = resolve(found.path)
        if (path := moved_path(name)) is not None:
            result.modules.add(path)
        else:
            result.left.append(Left(found.line, name.path, why_not_moved(name)))
    return with_paths_replaced(text, lambda path: moved_path(resolve(path))).encode(), result


def _distribution(module: str) -> str:
    package = module.partition(".")[0].replace("_", "-")
    return "lt-all" if package == "lt" else package
