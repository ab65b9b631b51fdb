import zipfile
from pathlib import Path

import pytest

from check_wheels import foreign_files
from isolation import CommandFailedError, build_wheel, run, siblings
from new_package import create
from workspace import packages


def test_wheel_of_a_new_package_holds_its_module_alone(tmp_path: Path) -> None:
    create("lt-toy", "A toy", root=tmp_path)
    wheel = build_wheel(tmp_path / "packages/lt-toy", into=tmp_path / "wheels")
    assert wheel.name == "lt_toy-0.1.0-py3-none-any.whl"
    assert "lt_toy/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert foreign_files(wheel, "lt_toy") == []
    assert foreign_files(wheel, "lt_other") == ["lt_toy/__init__.py", "lt_toy/py.typed"]


def test_siblings_are_followed_through_each_other() -> None:
    workspace = {package.name: package for package in packages()}
    found = {package.name for package in siblings(workspace["lt-core"], workspace)}
    assert found == {"lt-interfaces", "lt-fabric"}


def test_failing_command_shows_its_output() -> None:
    with pytest.raises(CommandFailedError, match="no such module"):
        run(["python", "-c", "raise SystemExit('no such module')"])
