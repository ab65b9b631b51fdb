import ast
from pathlib import Path

import pytest

from check_public_names import differences, names_in, public_names
from workspace import Package, read_package


@pytest.fixture
def package(tmp_path: Path) -> Package:
    folder = tmp_path / "lt-toy"
    module = folder / "src/lt_toy"
    module.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "lt-toy"\nversion = "1.0"\n')
    (module / "__init__.py").write_text("from lt_toy.thing import Thing\n")
    (module / "thing.py").write_text("import os\nLIMIT: int = 3\nclass Thing: ...\ndef _inner(): ...\n")
    (module / "_compat.py").write_text("def old(): ...\n")
    return read_package(folder)


def test_imports_count_in_the_front_only(package: Package) -> None:
    assert public_names(package) == ["lt_toy.thing: LIMIT", "lt_toy.thing: Thing", "lt_toy: Thing"]


def test_literal_all_decides() -> None:
    assert names_in(ast.parse("__all__ = ['a']\ndef a(): ...\ndef b(): ...\n"), with_imports=True) == ["a"]


def test_names_under_type_checking_count() -> None:
    assert names_in(ast.parse("if TYPE_CHECKING:\n    from x import y as z\n"), with_imports=True) == ["z"]


def test_new_and_gone_names_are_told(package: Package, tmp_path: Path) -> None:
    names = [*public_names(package)[1:], "lt_toy: Gone"]
    (tmp_path / "lt-toy.txt").write_text("\n".join(names))
    assert differences(package, tmp_path) == [
        "lt-toy: `lt_toy.thing: LIMIT` is new",
        "lt-toy: `lt_toy: Gone` is gone",
    ]
