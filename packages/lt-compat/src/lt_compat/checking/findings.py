"""Reading a code base for what it uses of Lightning's, and whether lt has it."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lt_compat import differences
from lt_compat.differences import Difference
from lt_compat.names import Owner
from lt_compat.reading.imports import STAR
from lt_compat.reading.resolution import Resolved, Standing, resolve
from lt_compat.reading.sources import PYTHON, mentions_lightning
from lt_compat.reading.syntax import UNREADABLE, Place, reading_problem
from lt_compat.reading.text_configs import configured_paths
from lt_compat.reading.usage import Binding, Call, Method, PathString, Use, read_usage
from lt_interfaces.hooks import BY_NAME, RETIRED
from lt_interfaces.spelling import did_you_mean, edit_distance

_IMPORTING: Final = {"import_module", "__import__", "find_spec"}
_LOGGING: Final = {"getLogger"}
_HEARING: Final = {"LightningModule", "LightningDataModule", "Callback", "BoringModel", "BoringDataModule"}


class Verdict(StrEnum):
    """What is to be said of a use."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Finding:
    """One use of Lightning's in a file."""

    name: str
    verdict: Verdict
    place: Place
    differences: tuple[Difference, ...] = ()
    instead: str = ""
    """Of what's missing or private: why, and what to use instead."""

    @property
    def stops_the_program(self) -> bool:
        """Whether the program fails for it: it isn't there, and nothing catches that."""
        absent = self.verdict in {Verdict.MISSING, Verdict.PRIVATE}
        return absent and not self.place.is_optional and not self.place.is_for_types


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What one file uses."""

    file: Path
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    """Why the file couldn't be read."""


def check_file(file: Path) -> CheckedFile:
    """Read one file; what can't be read is told, not raised."""
    try:
        source = file.read_bytes()
        if not mentions_lightning(source):
            return CheckedFile(file)
        found = list(findings(source) if file.suffix in PYTHON else config_findings(source.decode()))
    except UNREADABLE as error:
        return CheckedFile(file, problem=reading_problem(error))
    return CheckedFile(file, tuple(sorted(found, key=lambda one: one.place.line)))


def findings(source: bytes) -> Iterator[Finding]:
    """Yield what a Python file uses."""
    usage = read_usage(source)
    for binding in usage.bindings:
        yield _of_name(_named(binding), binding.place)
    for use in usage.uses:
        yield from _of_use(use)
    for string in usage.strings:
        yield from _of_string(string)
    for call in usage.calls:
        yield from _of_call(call)
    for method in usage.methods:
        yield from _of_method(method)


def config_findings(text: str) -> Iterator[Finding]:
    """Yield what a configuration file uses."""
    return (_of_name(resolve(found.path), Place(found.line)) for found in configured_paths(text))


def _named(binding: Binding) -> Resolved:
    return resolve(binding.name.path)


def _of_name(name: Resolved, place: Place) -> Finding:
    if name.is_absent:
        if name.standing is Standing.MISSING:
            return Finding(name.path, Verdict.MISSING, place, instead=name.why)
        return Finding(".".join((name.path, *name.attributes)), Verdict.PRIVATE, place, instead=name.why)
    if name.owner and name.attributes and not _has_attribute(name.owner, name.attributes[0]):
        instead = f"lt's `{name.name}` has no `{name.attributes[0]}`."
        return Finding(f"{name.path}.{name.attributes[0]}", Verdict.MISSING, place, instead=instead)
    return _differing(name.path, place, differences.of_name(name.name))


def _differing(name: str, place: Place, rows: tuple[Difference, ...]) -> Finding:
    return Finding(name, Verdict.DIFFERS if rows else Verdict.SAME, place, rows)


def _of_use(use: Use) -> Iterator[Finding]:
    """Yield what's behind a module's name. A name imported by itself has been told there; its attributes haven't."""
    through_module = use.bindings[0].is_module or use.bindings[0].name.local == STAR
    for name in map(resolve, use.paths):
        finding = _of_name(name, use.place)
        lacks_attribute = name.owner is not None and finding.verdict is Verdict.MISSING
        if lacks_attribute or (through_module and name.standing is not Standing.MODULE):
            yield finding


def _of_string(string: PathString) -> Iterator[Finding]:
    called, path = string.passed_to.rpartition(".")[2], string.dotted.path
    name = resolve(path)
    if called in _LOGGING:
        yield _differing(path, string.place, differences.of_name("getLogger"))
    elif name.standing is Standing.MODULE and called not in _IMPORTING:
        return  # a word, or a distribution's name
    elif not name.is_absent or name.path.count(".") > 1:
        yield _of_name(name, string.place)


def _of_call(call: Call) -> Iterator[Finding]:
    if call.callee.owner is None or call.callee.attributes:
        return
    known = _parameters(call.callee.owner)
    for keyword in call.keywords:
        shown = f"{call.callee.name}({keyword}=...)" if keyword else f"{call.callee.name}()"
        if rows := differences.of_argument(call.callee.name, keyword):
            yield Finding(shown, Verdict.DIFFERS, call.place, rows)
        elif keyword and known is not None and keyword not in known:
            instead = f"lt's `{call.callee.name}` has no argument `{keyword}`.{did_you_mean(keyword, known)}"
            yield Finding(shown, Verdict.MISSING, call.place, instead=instead)


def _of_method(method: Method) -> Iterator[Finding]:
    if not _hears_hooks(method.base) or method.is_called:
        return
    shown = f"{method.base.name}.{method.name}"
    if method.name in RETIRED and method.name not in BY_NAME:
        instead = f"A hook of older Lightning, which lt refuses. Use `{RETIRED[method.name]}`."
        yield Finding(shown, Verdict.MISSING, method.place, instead=instead)
    elif rows := differences.of_method(method.name):
        yield Finding(shown, Verdict.DIFFERS, method.place, rows)
    elif _is_misspelt_hook(method.name):
        yield Finding(shown, Verdict.DIFFERS, method.place, differences.of_method(differences.MISSPELT))


def _hears_hooks(base: Resolved) -> bool:
    return base.name in _HEARING or base.key.startswith("pytorch.callbacks")


def _is_misspelt_hook(name: str) -> bool:
    return name.startswith("on_") and name not in BY_NAME and any(edit_distance(name, hook) <= 2 for hook in BY_NAME)


@cache
def _object(owner: Owner) -> Any:
    """Load what lt has by a name; ``None``: a package that it needs isn't installed."""
    try:
        return getattr(import_module(owner.module), owner.name)
    except ImportError:
        return None


def _has_attribute(owner: Owner, attribute: str) -> bool:
    found = _object(owner)
    return not isinstance(found, type) or hasattr(found, attribute)


def _parameters(owner: Owner) -> list[str] | None:
    """Return the arguments that a class or function takes by name; ``None``: any, or that's not known."""
    found = _object(owner)
    if not callable(found):
        return None
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return None if takes_any else [one.name for one in parameters if one.kind is not one.POSITIONAL_ONLY]
