"""What holds for every contract that is an abstract class."""

from abc import ABC
from inspect import getdoc, isfunction, signature
from typing import Any

import pytest


def assert_demands_each_method(contract: type[ABC], *, but_not: tuple[str, ...] = ()) -> None:
    """Fail unless a subclass can be made exactly when it has everything, and the error names what it lacks.

    Args:
        contract: an abstract class.
        but_not: its public methods that have defaults.
    """
    demanded = contract.__abstractmethods__
    public = {name for name, value in vars(contract).items() if name[0] != "_" and _is_method(value)}
    assert demanded == public - set(but_not)
    complete: Any = type("Complete", (contract,), dict.fromkeys(demanded))
    complete()
    for name in demanded:
        lacking: Any = type("Lacking", (contract,), dict.fromkeys(demanded - {name}))
        with pytest.raises(TypeError, match=rf"'?\b{name}\b'?"):
            lacking()


def assert_can_be_written_from_the_docstring(contract: type) -> None:
    """Fail unless the contract and each of its public methods say what they're for."""
    assert getdoc(contract)
    members = {name: value for name, value in vars(contract).items() if name[0] != "_" and _is_method(value)}
    assert [name for name, value in members.items() if not value.__doc__] == []


def assert_offers(part: object, contract: type) -> None:
    """Fail unless an object has every member of a Protocol, its methods with the same parameters."""
    for name, member in vars(contract).items():
        if name[0] == "_" or not (isfunction(member) or isinstance(member, property)):
            continue
        assert hasattr(type(part), name), f"{type(part).__name__} lacks {name}"
        if isfunction(member):
            wanted = [parameter for parameter in signature(member).parameters if parameter != "self"]
            assert list(signature(getattr(part, name)).parameters) == wanted, name


def _is_method(value: object) -> bool:
    return isfunction(value) or isinstance(value, property | classmethod)
