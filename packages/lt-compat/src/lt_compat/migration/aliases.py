"""Moving names of modules, such as `pl` of `import lightning.pytorch as pl`, and what's used through them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import libcst as cst
from libcst.metadata import ClassScope, GlobalScope

from lt_compat.migration.edits import Edit
from lt_compat.migration.front_door import MODULE, by_front_door
from lt_compat.modules import ROOTS
from lt_compat.names import Owner, names_of
from lt_compat.reading.resolution import Resolved, Standing, resolve
from lt_compat.reading.usage import Binding, Rivals, Usage, Use

_FRONT: Final = {"", "pytorch", "fabric"}
"""The modules of the table that `lt` takes the place of."""


@dataclass(frozen=True, slots=True)
class Left:
    """Something of Lightning's that stays as it was."""

    line: int
    name: str
    why: str
    is_imported: bool = True
    """Whether the file doesn't run without the name."""


@dataclass(slots=True)
class AliasPlan:
    """What becomes of a local name of a module, in one scope."""

    bindings: list[Binding]
    """The statements that bind it: several where branches do."""
    target: str = ""
    """The module of lt that it's to be."""
    local: str = ""
    """Its name from now on."""
    direct: dict[Owner, str] = field(default_factory=dict)
    """What's imported by itself since it can't be had through the module, with the names it gets."""
    edits: list[Edit] = field(default_factory=list)
    """The changes where the module is used."""
    left: list[Left] = field(default_factory=list)
    """Why the name stays Lightning's, with all its uses: not empty, and everything else here is void."""
    is_used: bool = False
    """Whether anything is still reached through the module."""


def plan_aliases(usage: Usage) -> list[AliasPlan]:
    """Decide for every local name of a module. A name stays Lightning's if one use of it can't be moved."""
    plans = []
    for bindings in _groups(usage.bindings):
        plan = AliasPlan(bindings)
        members = set(map(id, bindings))
        uses = [use for use in usage.uses if members & set(map(id, use.bindings))]
        plan.left = [*_absent_modules(bindings), *(left for use in uses for left in _why_left(use))]
        if not plan.left:
            _choose_target(plan, uses, usage)
        if plan.target:
            for use in uses:
                _move(use, plan, usage)
            plan.left += _second_thoughts(plan)
            plan.edits = [] if plan.left else plan.edits
        plans.append(plan)
    return plans


def _groups(bindings: Iterable[Binding]) -> Iterable[list[Binding]]:
    groups: dict[tuple[int, str], list[Binding]] = {}
    for binding in bindings:
        if binding.is_module:
            groups.setdefault((id(binding.scope), binding.name.local), []).append(binding)
    return groups.values()


def _absent_modules(bindings: Iterable[Binding]) -> Iterator[Left]:
    for binding in bindings:
        if (module := resolve(binding.name.path)).is_absent:
            yield Left(binding.place.line, module.path, module.why)


def _why_left(use: Use) -> Iterator[Left]:
    """Yield the reasons why a use can't be moved; nothing if it can."""
    names = [resolve(path) for path in use.paths]
    if use.may_be_any_module and all(name.standing is Standing.MODULE for name in names):
        return
    for name in names:
        if name.owner is None:
            yield Left(use.place.line, name.path, why_not_moved(name))
    if len({name.owner for name in names}) > 1:
        yield Left(use.place.line, ".".join(use.dotted.parts), "Its imports bind it to things that differ in lt.")


def _second_thoughts(plan: AliasPlan) -> Iterator[Left]:
    """Yield why the changes that were planned can't be made after all."""
    for binding in plan.bindings:
        if binding.rivals is Rivals.OTHERS and (plan.edits or plan.direct):
            why = "The name is bound to something else too, and can't be told apart where it's used."
            yield Left(binding.place.line, binding.name.local, why)
        if binding.is_declared and plan.direct:
            why = "The name is declared `global` or `nonlocal`, and what's used through it is in several modules of lt."
            yield Left(binding.place.line, binding.name.local, why)


def why_not_moved(name: Resolved) -> str:
    """Say why a name that no module of lt has stays as it is."""
    if name.standing is Standing.MODULE:
        return "The module itself is passed on or kept, so its names can't be told from the text."
    if name.standing is Standing.SPECIAL:
        return "lt's packages have versions of their own; lt-compat answers with Lightning's."
    return name.why


def _choose_target(plan: AliasPlan, uses: Iterable[Use], usage: Usage) -> None:
    first = plan.bindings[0].name
    plan.local = first.local
    plan.is_used = isinstance(plan.bindings[0].scope, ClassScope)  # an attribute, which others may use
    key = resolve(first.bound).key
    if key in _FRONT:
        plan.target = MODULE
        has_no_name = isinstance(first.alias, cst.ImportAlias) and first.alias.asname is None
        is_alone = all(binding.rivals is Rivals.NOTHING and not binding.is_declared for binding in plan.bindings)
        if has_no_name and is_alone and first.local in ROOTS and MODULE not in usage.identifiers:
            plan.local = MODULE
        return
    used = [owner for use in uses if (owner := resolve(use.paths[0]).owner)]
    offered = [entry for entry in names_of(key).values() if isinstance(entry, Owner)]
    if modules := Counter(owner.module for owner in used or offered).most_common(1):
        plan.target = modules[0][0]
    else:
        place = plan.bindings[0].place
        plan.left.append(Left(place.line, first.bound, "lt has none of this module's names."))


def _move(use: Use, plan: AliasPlan, usage: Usage) -> None:
    """Plan the change of one use."""
    name = resolve(use.paths[0])
    if name.owner is None:
        plan.is_used = True
        depth, new = 1, plan.local
    else:
        depth = len(use.dotted.parts) - len(name.attributes)
        new = _through(name.owner, plan)
    start, end = use.dotted.start, use.dotted.ends[depth - 1]
    if name.owner and new == "":
        new = plan.direct.setdefault(name.owner, free_name(name.owner, usage))
    else:
        plan.is_used = True
    if "".join(usage.syntax.code[start:end].decode().split()) != new:
        plan.edits.append(Edit(start, end, new))


def _through(owner: Owner, plan: AliasPlan) -> str:
    """Return how a name is written through the module; ``""``: it can't be had so."""
    if plan.target == MODULE:
        behind = by_front_door(owner)
        return f"{plan.local}.{behind}" if behind else ""
    return f"{plan.local}.{owner.name}" if owner.module == plan.target else ""


def free_name(owner: Owner, usage: Usage) -> str:
    """Return a name that stands for nothing else in the file, or that stands for the same already."""
    name = owner.name
    is_bound_once = all(isinstance(scope, GlobalScope) for scope in usage.syntax.scopes_that_bind(name))
    if is_bound_once and any(_binds(binding, owner, usage) for binding in usage.bindings):
        return name
    while name in usage.identifiers:
        name = f"lt_{name}"
    return name


def _binds(binding: Binding, owner: Owner, usage: Usage) -> bool:
    """Say whether an import that always happens binds the name to what's meant, for the whole file."""
    is_same = binding.name.local == owner.name and resolve(binding.name.bound).owner == owner
    is_certain = binding.rivals is Rivals.NOTHING and usage.syntax.is_top_level(binding.name.statement)
    return is_same and is_certain
