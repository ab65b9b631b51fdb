from importlib import import_module

import pytest

import lt
from lt_compat.migration import front_door


def test_packages_are_those_of_lt() -> None:
    assert {name: module for module, name in front_door.PACKAGES.items()} == lt._PACKAGES


def test_names_are_those_of_lt() -> None:
    assert set(front_door.NAMES) == set(lt._OWNERS)


@pytest.mark.parametrize("name", sorted(front_door.NAMES))
def test_the_modules_of_a_name_have_the_same_object(name: str) -> None:
    assert lt._OWNERS[name] in front_door.NAMES[name]
    for module in front_door.NAMES[name]:
        assert getattr(import_module(module), name) is getattr(lt, name)
