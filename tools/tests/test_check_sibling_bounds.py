import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from check_sibling_bounds import choose

VERSIONS = [Version("0.1.0"), Version("0.1.4"), Version("0.2.0")]


def test_edges_are_the_ends_of_the_range() -> None:
    requirement = Requirement("lt-interfaces>=0.1.0,<0.2")
    assert choose(requirement, VERSIONS, edge=min) == Version("0.1.0")
    assert choose(requirement, VERSIONS, edge=max) == Version("0.1.4")


def test_floor_that_nobody_released_is_an_error() -> None:
    with pytest.raises(ValueError, match="never released"):
        choose(Requirement("lt-interfaces>=0.1.2"), VERSIONS, edge=min)


def test_range_without_a_version_is_an_error() -> None:
    with pytest.raises(ValueError, match="allows none"):
        choose(Requirement("lt-interfaces<0.1"), VERSIONS, edge=max)
