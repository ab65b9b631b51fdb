"""Make the skeleton of a new package: `python tools/new_package.py lt-example "What it brings, in one line"`."""

import argparse
import re
import sys
from pathlib import Path

from workspace import ROOT

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "{description}"
readme = "README.md"
license = "Apache-2.0"
requires-python = ">=3.11"
classifiers = [
  "Development Status :: 3 - Alpha",
  "Intended Audience :: Science/Research",
  "Programming Language :: Python :: 3",
  "Topic :: Scientific/Engineering :: Artificial Intelligence",
  "Typing :: Typed",
]
dependencies = [
  "lt-interfaces>=0.1.0,<0.2",
]

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""
README = """\
# {name}

{description}.

```
pip install {name}
```
"""
CHANGELOG = """\
# Changes of {name}

## 0.1.0 (unreleased)

- First version.
"""
TEST = """\
from importlib.metadata import version

import {module}


def test_package_is_installed_under_its_name() -> None:
    assert {module}.__name__ == "{module}"
    assert version("{name}")
"""
REFERENCE = """\
# {name}

::: {module}
"""
NEXT_STEPS = """\
{name} is in packages/{name}. Now name {module}
- in pyproject.toml: ruff's known-first-party, mypy's mypy_path, import-linter's root_packages and contracts;
- in docs/site/mkdocs.yml: the reference section;
and run `hatch run names --update`. `hatch run unit tools/tests` says what is still missing.
"""


def create(name: str, description: str, *, root: Path) -> None:
    """Write the files of a new package; a name that isn't `lt-...` or is taken raises ValueError."""
    if not re.fullmatch(r"lt(-[a-z]+)+", name):
        message = f"a package is called lt-<noun>, in small letters with hyphens; got {name!r}"
        raise ValueError(message)
    folder = root / "packages" / name
    if folder.exists():
        message = f"packages/{name} is already there"
        raise ValueError(message)
    words = {"name": name, "module": name.replace("-", "_"), "description": description.rstrip(".")}
    files = {
        folder / "pyproject.toml": PYPROJECT,
        folder / "README.md": README,
        folder / "CHANGELOG.md": CHANGELOG,
        folder / "src/{module}/__init__.py".format(**words): '"""{description}."""\n',
        folder / "src/{module}/py.typed".format(**words): "",
        folder / "tests/test_installation.py": TEST,
        root / "docs/reference/{module}.md".format(**words): REFERENCE,
    }
    for file, template in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(template.format(**words))
    print(NEXT_STEPS.format(**words))


def main() -> int:
    """Read the command line and write the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="distribution name, lt-<noun>")
    parser.add_argument("description", help="what the package brings, in one line")
    arguments = parser.parse_args()
    try:
        create(arguments.name, arguments.description, root=ROOT)
    except ValueError as refusal:
        print(refusal)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
