"""Every plugin that a package declares can be loaded by what its entry point says."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def declared() -> Iterator[EntryPoint]:
    for file in sorted(ROOT.glob("packages/*/pyproject.toml")):
        groups = tomllib.loads(file.read_text())["project"].get("entry-points", {})
        for group, names in groups.items():
            yield from (EntryPoint(name=name, value=value, group=group) for name, value in names.items())


ENTRY_POINTS = list(declared())


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda point: f"{point.group}:{point.name}")
def test_declared_plugin_loads(entry_point: EntryPoint) -> None:
    assert callable(entry_point.load())


def test_no_two_packages_offer_one_name() -> None:
    names = [(point.group, point.name) for point in ENTRY_POINTS]
    assert len(names) == len(set(names))
