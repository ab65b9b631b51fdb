from pathlib import Path

import pytest

from new_package import create
from workspace import packages


def test_skeleton_is_a_package_of_the_monorepo(tmp_path: Path) -> None:
    create("lt-new-thing", "Brings a new thing.", root=tmp_path)
    (package,) = packages(tmp_path)
    assert (package.name, package.module, package.version) == ("lt-new-thing", "lt_new_thing", "0.1.0")
    assert [str(requirement) for requirement in package.requirements] == ["lt-interfaces<0.2,>=0.1.0"]


@pytest.mark.parametrize("name", ["new", "lt_new", "lt-New", "lt-"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="lt-<noun>"):
        create(name, "x", root=tmp_path)


def test_existing_package_is_left_alone(tmp_path: Path) -> None:
    create("lt-new", "First", root=tmp_path)
    with pytest.raises(ValueError, match="already there"):
        create("lt-new", "Second", root=tmp_path)
