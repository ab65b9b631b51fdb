"""Lists that name every package must not forget one."""

import tomllib
from typing import Any

import pytest

from workspace import ROOT, Package, packages

PACKAGES = packages()


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    configuration: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    return configuration


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_is_named_in_every_list(package: Package, tool: dict[str, Any]) -> None:
    assert package.module in tool["ruff"]["lint"]["isort"]["known-first-party"]
    assert f"$MYPY_CONFIG_FILE_DIR/packages/{package.name}/src" in tool["mypy"]["mypy_path"]
    assert package.module in tool["importlinter"]["root_packages"]
    cycles = next(contract for contract in tool["importlinter"]["contracts"] if contract["id"] == "no-cycles")
    assert package.module in cycles["ancestors"]
    assert (ROOT / f"docs/reference/{package.module}.md").exists()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_has_its_parts(package: Package) -> None:
    assert package.folder.name == package.name
    assert package.module == ("lt" if package.name == "lt-all" else package.name.replace("-", "_"))
    assert (package.source / package.module / "py.typed").exists()
    assert (package.folder / "CHANGELOG.md").exists()
    assert len((package.folder / "README.md").read_text().splitlines()) <= 60


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_only_lt_all_pins_siblings(package: Package) -> None:
    names = {other.name for other in PACKAGES}
    for requirement in package.requirements:
        if requirement.name in names:
            operators = {bound.operator for bound in requirement.specifier}
            assert operators == ({"=="} if package.name == "lt-all" else {">=", "<"})


def test_lt_all_pins_what_is_in_the_tree() -> None:
    (front,) = (package for package in PACKAGES if package.name == "lt-all")
    pins = {requirement.name: str(requirement.specifier) for requirement in front.requirements}
    assert pins == {package.name: f"=={package.version}" for package in PACKAGES if package is not front}


def test_modules_named_in_contracts_of_the_row_are_all_known(tool: dict[str, Any]) -> None:
    contract = next(contract for contract in tool["importlinter"]["contracts"] if contract["id"] == "packages")
    layers = {name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")}
    assert {package.module for package in PACKAGES} <= layers
