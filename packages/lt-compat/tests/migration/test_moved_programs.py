"""However Lightning is imported: the moved program binds the same objects, and moving it again changes nothing."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lt_compat.migration.files import migrate
from lt_compat.modules import ROOTS
from lt_compat.names import MODULES, Missing, Owner
from lt_compat.reading.usage import offered_by_star

pytestmark = pytest.mark.usefixtures("lightning_names")
IMPORT = re.compile(rf"\b(?:import|from) (?:{'|'.join(ROOTS)})\b")
MENTION = re.compile(rf"^(?!'''|.*#.*)(?:.*\W)?(?:{'|'.join(ROOTS)})\b", re.MULTILINE)
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Name:
    """A name of Lightning's that lt has."""

    module: str
    name: str


def spellings(key: str) -> list[str]:
    """Return the ways in which a module of the table is written."""
    spelt = [".".join(part for part in ("lightning", key) if part)]
    for start, root in (("pytorch", "pytorch_lightning"), ("fabric", "lightning_fabric")):
        if key == start or key.startswith(f"{start}."):
            spelt.append(root + key.removeprefix(start))
    return spelt


def is_there(entry: Owner | Missing) -> bool:
    """Say whether lt has a name; that it has all that the table gives an owner is the table's own test."""
    return isinstance(entry, Owner) and hasattr(import_module(entry.module), entry.name)


BY_MODULE = {
    module: [Name(module, name) for name, entry in names.items() if is_there(entry)]
    for key, names in MODULES.items()
    for module in spellings(key)
}
MODULE = st.sampled_from(sorted(module for module, names in BY_MODULE.items() if names))


def bound(source: str) -> Mapping[str, Any]:
    """Run a program and return what its names are bound to, but for modules, which become others."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "program", "exec"), names)
    return {name: value for name, value in names.items() if name.startswith("kept_")}


@st.composite
def from_import(draw: st.DrawFn, number: int) -> Iterator[str]:
    """Draw a `from` import of several names of one module, in one of its layouts."""
    module = draw(MODULE)
    chosen = draw(st.lists(st.sampled_from(BY_MODULE[module]), min_size=1, max_size=4, unique=True))
    items = [f"{one.name} as kept_{number}_{i}" for i, one in enumerate(chosen)]
    indent = draw(st.sampled_from(["", "    "]))
    layout = draw(st.sampled_from(["{one}", "({one})  # noqa", "(  # all\n{many}{indent})"]))
    many = "".join(f"{indent}    # about {i}\n{indent}    {item},  # it's {i}\n" for i, item in enumerate(items))
    statement = f"{indent}from {module} import " + layout.format(one=", ".join(items), many=many, indent=indent)
    return iter([*(["if True:"] if indent else []), *statement.splitlines()])


@st.composite
def through_module(draw: st.DrawFn, number: int) -> Iterator[str]:
    """Draw an import of a module, or of one above it, and uses of names through it."""
    module = draw(MODULE)
    parts = module.split(".")
    depth = draw(st.integers(1, len(parts)))
    above, behind = ".".join(parts[:depth]), parts[depth:]
    forms = [(f"import {above} as m{number}", f"m{number}"), (f"import {above}", above), (f"import {module}", above)]
    if depth > 1:
        forms.append((f"from {'.'.join(parts[: depth - 1])} import {parts[depth - 1]} as m{number}", f"m{number}"))
    statement, root = draw(st.sampled_from(forms))
    chosen = draw(st.lists(st.sampled_from(BY_MODULE[module]), min_size=1, max_size=3, unique=True))
    uses = [f"kept_{number}_{i} = {'.'.join([root, *behind, one.name])}" for i, one in enumerate(chosen)]
    return iter(laid_out(statement, uses, draw(st.sampled_from(["plain", "function", "try", "none", "one line"]))))


def laid_out(statement: str, uses: list[str], layout: str) -> list[str]:
    """Return the lines of an import and its uses, in one of several surroundings."""
    if layout == "function":
        names = ", ".join(line.partition(" ")[0] for line in uses)
        return ["def f():", f"    global {names}", f"    {statement}", *(f"    {line}" for line in uses), "f()"]
    if layout == "try":
        return ["try:", f"    {statement}", "except ImportError:", f"    {statement}", *uses]
    if layout == "none":
        local = re.split(r"\W", uses[0].partition("= ")[2])[0]
        return ["try:", f"    {statement}", "except ImportError:", f"    {local} = None", *uses]
    if layout == "one line":
        return [f"import os; {statement}; import sys", *uses]
    return [f"{statement}  # why", *uses]


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Draw a program of several such parts."""
    kinds = draw(st.lists(st.sampled_from([from_import, through_module]), min_size=1, max_size=4))
    parts = [line for number, kind in enumerate(kinds) for line in draw(kind(number))]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(["# -*- coding: utf-8 -*-", "'''é lightning.pytorch.Trainer'''", *parts, "x = 1  # ö"])


@MANY
@given(programs())
def test_a_moved_program_binds_the_same_objects(source: str) -> None:
    moved = migrate(source.encode()).decode()
    assert bound(moved) == bound(source)
    assert not IMPORT.search(moved)


@MANY
@given(programs())
def test_moving_twice_is_moving_once(source: str) -> None:
    moved = migrate(source.encode())
    assert migrate(moved) == moved


@MANY
@given(programs())
def test_lines_and_comments_that_have_nothing_to_do_with_lightning_stay(source: str) -> None:
    moved = migrate(source.encode()).decode()
    assert ("\r\n" in moved) == ("\r\n" in source)
    assert moved.count("\n") == moved.count("\r\n") or "\r\n" not in moved
    for line in source.splitlines():
        comment = line.partition("#")[2]
        assert comment in moved
        assert line in moved or MENTION.search(line.partition("#")[0]) or "kept_" in line or "import" in line


@pytest.mark.parametrize("form", ["name", "module", "whole path"])
def test_every_name_of_the_table_is_moved(form: str) -> None:
    names = [one for module, of_module in BY_MODULE.items() if module.startswith("lightning") for one in of_module]
    lines = []
    for i, one in enumerate(names):
        if form == "name":
            lines.append(f"from {one.module} import {one.name} as kept_{i}")
        elif form == "module":
            lines += [f"import {one.module} as m{i}", f"kept_{i} = m{i}.{one.name}"]
        else:
            lines += [f"import {one.module}", f"kept_{i} = {one.module}.{one.name}"]
    source = "\n".join(lines)
    moved = migrate(source.encode()).decode()
    assert bound(moved) == bound(source)
    assert not IMPORT.search(moved)


@pytest.mark.parametrize(
    "module", [module for module in BY_MODULE if all(map(is_there, offered_by_star(module).values()))]
)
def test_a_star_is_replaced_by_what_it_binds(module: str) -> None:
    source = "\n".join([f"from {module} import *", *(f"kept_{name} = {name}" for name in offered_by_star(module))])
    assert bound(migrate(source.encode()).decode()) == bound(source)


@given(
    st.lists(
        st.sampled_from(["import os\n", "x = 'lightning'\r\n", "# lightning.pytorch.Trainer\n", "\tö = 1\n", "\f\n"])
    )
)
def test_a_program_without_lightning_stays_as_it_is(lines: list[str]) -> None:
    source = "".join(line for line in lines if line[0] != "\t" or True).replace("\t", "")
    assert migrate(source.encode()) == source.encode()
