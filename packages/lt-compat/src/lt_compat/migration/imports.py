"""Rewriting import statements of Lightning's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import libcst as cst

from lt_compat.migration.aliases import AliasPlan, Left, why_not_moved
from lt_compat.migration.edits import Edit
from lt_compat.migration.statements import Frame, Item, comments_in, frame_of, from_import, is_multiline
from lt_compat.names import Owner
from lt_compat.reading.imports import Statement, written
from lt_compat.reading.resolution import resolve
from lt_compat.reading.syntax import Syntax
from lt_compat.reading.usage import Binding, Usage, offered_by_star


@dataclass(slots=True)
class Rewriting:
    """What becomes of one statement."""

    edits: list[Edit] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)
    """The modules of lt that it imports now."""


def rewritten(usage: Usage, plans: Sequence[AliasPlan]) -> Iterator[Rewriting]:
    """Yield what becomes of each statement that binds something of Lightning's."""
    by_statement: dict[Statement, list[Binding]] = {}
    for binding in usage.bindings:
        by_statement.setdefault(binding.name.statement, []).append(binding)
    plan_of = {id(binding): plan for plan in plans for binding in plan.bindings}
    for statement, bindings in by_statement.items():
        job = _Statement(usage, bindings, plan_of, Rewriting())
        yield _rewritten(statement, job)


@dataclass(frozen=True, slots=True)
class _Statement:
    """One statement to be rewritten."""

    usage: Usage
    bindings: Sequence[Binding]
    plan_of: Mapping[int, AliasPlan]
    result: Rewriting

    def plan(self, binding: Binding) -> AliasPlan | None:
        """Return what becomes of a module's name; ``None``: it stays, or the name isn't a module's."""
        plan = self.plan_of.get(id(binding))
        return plan if plan and not plan.left else None

    def why_left(self, binding: Binding) -> Iterator[Left]:
        """Yield why a name stays; a module's name has its reasons in its plan."""
        if id(binding) not in self.plan_of:
            name = resolve(binding.name.path)
            yield Left(binding.place.line, name.path, why_not_moved(name))


def _rewritten(statement: Statement, job: _Statement) -> Rewriting:
    match statement:
        case cst.Import():
            return _import(statement, job)
        case cst.ImportFrom():
            return _from(statement, job)
    return _assigned(statement, job)


def _assigned(statement: cst.Assign, job: _Statement) -> Rewriting:
    """Rewrite `pl = import_module("lightning.pytorch")`: the string, with lines added below."""
    (binding,) = job.bindings
    if plan := job.plan(binding):
        syntax, result = job.usage.syntax, job.result
        string = binding.name.alias
        assert isinstance(string, cst.SimpleString)
        result.edits.append(Edit(*syntax.span(string), f"{string.prefix}{string.quote}{plan.target}{string.quote}"))
        result.modules.update({plan.target, *(owner.module for owner in plan.direct)})
        frame = frame_of(statement, syntax)
        if lines := _direct_imports(plan.direct.items(), frame):
            result.edits.append(_below(syntax.span(statement)[1], lines, frame=frame, syntax=syntax))
    return job.result


def _import(statement: cst.Import, job: _Statement) -> Rewriting:
    """Rewrite `import lightning.pytorch as pl`: the module's part is replaced, and lines are added below."""
    moved = [(binding, plan) for binding in job.bindings if (plan := job.plan(binding))]
    syntax, result = job.usage.syntax, job.result
    frame = frame_of(statement, syntax)
    start, end = syntax.span(statement)
    is_repeated = any(_is_repeated(binding, plan, syntax) for binding, plan in moved)
    if is_repeated and frame.is_alone and not frame.comment and len(statement.names) == 1:
        result.edits.append(_whole_line(start, end, syntax))
        return result
    direct = {owner: local for _, plan in moved for owner, local in plan.direct.items()}
    lines = _direct_imports(direct.items(), frame)
    result.modules.update(owner.module for owner in direct)
    if lines and len(statement.names) == 1 and not moved[0][1].is_used:
        result.edits.append(Edit(start, end, frame.joined(lines)))
        return result
    for binding, plan in moved:
        result.edits.append(Edit(*syntax.span(binding.name.alias or statement), _as(plan.target, plan.local)))
        result.modules.add(plan.target)
    if lines:
        result.edits.append(_below(end, lines, frame=frame, syntax=syntax))
    return result


def _is_repeated(binding: Binding, plan: AliasPlan, syntax: Syntax) -> bool:
    """Say whether the same block has imported the module before, by another name of Lightning's for it."""
    block = syntax.block(binding.name.statement)
    earlier = takewhile(lambda other: other is not binding, plan.bindings)
    return plan.target == plan.local and any(syntax.block(other.name.statement) is block for other in earlier)


def _whole_line(start: int, end: int, syntax: Syntax) -> Edit:
    line_start = syntax.code.rfind(b"\n", 0, start) + 1
    line_end = syntax.code.find(b"\n", end) + 1
    return Edit(line_start, line_end or len(syntax.code), "")


def _below(end: int, lines: Sequence[str], *, frame: Frame, syntax: Syntax) -> Edit:
    """Return the change that adds lines below a statement, or behind it where it shares its line."""
    if not frame.is_alone:
        return Edit(end, end, "; " + frame.joined(lines))
    line_end = syntax.code.find(b"\n", end)
    place = len(syntax.code) if line_end < 0 else line_end - (syntax.code[line_end - 1 : line_end] == b"\r")
    pragma = f"  {frame.pragma}" if frame.pragma else ""
    return Edit(place, place, f"{frame.newline}{frame.indent}{frame.joined(lines)}{pragma}")


def _direct_imports(names: Iterable[tuple[Owner, str]], frame: Frame) -> list[str]:
    """Return the statements that import names of lt's, each with the name that it gets."""
    by_module: dict[str, list[Item]] = {}
    for owner, local in names:
        by_module.setdefault(owner.module, []).append(Item(_as(owner.name, local)))
    return [from_import(module, items, frame=frame) for module, items in by_module.items()]


def _as(name: str, local: str) -> str:
    return name if name == local else f"{name} as {local}"


@dataclass(frozen=True, slots=True)
class _Part:
    """One name of a `from` import, and the statement that it goes into."""

    binding: Binding
    module: str
    """The module of `from module import ...`; ``""``: the item is a statement of its own."""
    item: Item
    is_kept: bool = False


def _from(statement: cst.ImportFrom, job: _Statement) -> Rewriting:
    """Rewrite `from lightning.pytorch import ...`: one statement for each module of lt that the names live in."""
    if isinstance(statement.names, cst.ImportStar):
        return _star(statement, job)
    parts = list(_parts(statement, job))
    syntax, result = job.usage.syntax, job.result
    if all(part.is_kept for part in parts):
        return result
    moved = {part.module for part in parts if not part.is_kept}
    result.modules |= moved - {""}
    if len(moved) == 1 and "" not in moved and len(parts) == len(statement.names) and not _keeps(parts):
        changes = [(statement.module, moved.pop()), *((part.binding.name.alias, part.item.text) for part in parts)]
        edits = [Edit(*syntax.span(node), new) for node, new in changes if node is not None]
        result.edits += [edit for edit in edits if syntax.code[edit.start : edit.end].decode() != edit.new]
    else:
        result.edits.append(Edit(*syntax.span(statement), _split(statement, parts, syntax)))
    return result


def _keeps(parts: Sequence[_Part]) -> bool:
    return any(part.is_kept for part in parts)


def _split(statement: cst.ImportFrom, parts: Sequence[_Part], syntax: Syntax) -> str:
    """Return the statements that a statement becomes, in the order of its names."""
    frame = frame_of(statement, syntax)
    opening = comments_in(statement).opening
    groups: dict[str, list[Item]] = {}
    for part in parts:
        groups.setdefault(part.module or part.item.text, []).append(part.item)
    own = {part.item.text for part in parts if not part.module}
    multiline = is_multiline(statement, syntax)
    return frame.joined(
        [
            module if module in own else from_import(module, items, frame=frame, multiline=multiline, opening=opening)
            for module, items in groups.items()
        ]
    )


def _parts(statement: cst.ImportFrom, job: _Statement) -> Iterator[_Part]:
    assert statement.module is not None
    module = ".".join(written(statement.module))
    for binding, (above, beside) in zip(job.bindings, comments_in(statement).items, strict=True):
        start, end = job.usage.syntax.span(binding.name.alias or statement)
        text = job.usage.syntax.code[start:end].decode()
        owner = resolve(binding.name.path).owner
        if plan := job.plan(binding):
            yield from _module_parts(binding, plan, job)
        elif owner is None or binding.is_module:
            job.result.left += job.why_left(binding)
            yield _Part(binding, module, Item(text, above, beside), is_kept=True)
        else:
            is_renamed = owner.name != binding.name.path.rpartition(".")[2]
            new = _as(owner.name, binding.name.local) if is_renamed else text
            yield _Part(binding, owner.module, Item(new, above, beside))


def _module_parts(binding: Binding, plan: AliasPlan, job: _Statement) -> Iterator[_Part]:
    if plan.is_used or not plan.direct:
        yield _Part(binding, "", Item(f"import {_as(plan.target, plan.local)}"))
        job.result.modules.add(plan.target)
    for owner, local in plan.direct.items():
        yield _Part(binding, owner.module, Item(_as(owner.name, local)))


def _star(statement: cst.ImportFrom, job: _Statement) -> Rewriting:
    """Name what a star binds: a star of lt's modules would bind other names too."""
    (binding,) = job.bindings
    uses = [use for use in job.usage.uses if binding in use.bindings]
    absent = [(use, name) for use in uses for name in map(resolve, use.paths) if name.is_absent]
    job.result.left += [Left(use.place.line, name.path, name.why) for use, name in absent]
    offered = offered_by_star(binding.name.path)
    if absent or not offered:
        job.result.left += [] if absent else job.why_left(binding)
        return job.result
    frame = frame_of(statement, job.usage.syntax)
    lines = _direct_imports(((owner, name) for name, owner in offered.items()), frame)
    job.result.edits.append(Edit(*job.usage.syntax.span(statement), frame.joined(lines)))
    job.result.modules.update(owner.module for owner in offered.values())
    return job.result
