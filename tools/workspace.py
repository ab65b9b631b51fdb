"""What every tool needs to know about the monorepo: where it is and which packages it holds."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Package:
    """One folder under packages/, as its pyproject.toml describes it."""

    folder: Path
    project: dict[str, Any]  # the [project] table, whose values are of many types

    @property
    def name(self) -> str:
        """Distribution name, for example `lt-core`."""
        return str(self.project["name"])

    @property
    def version(self) -> str:
        """Version as written in pyproject.toml."""
        return str(self.project["version"])

    @property
    def source(self) -> Path:
        """Folder to put on the import path."""
        return self.folder / "src"

    @property
    def module(self) -> str:
        """Name of the one module that the wheel brings."""
        return next(child.name for child in sorted(self.source.iterdir()) if child.is_dir())

    @property
    def requirements(self) -> list[Requirement]:
        """What the wheel declares that it needs, extras left out."""
        return [Requirement(text) for text in self.project.get("dependencies", [])]


def packages(root: Path = ROOT) -> list[Package]:
    """Return all packages of the monorepo in alphabetical order."""
    return [read_package(file.parent) for file in sorted(root.glob("packages/*/pyproject.toml"))]


def stand_ins(root: Path = ROOT) -> list[Package]:
    """Return the wheels whose modules carry others' names, and which therefore aren't packages like ours."""
    return [read_package(file.parent) for file in sorted(root.glob("stand-ins/*/pyproject.toml"))]


def read_package(folder: Path) -> Package:
    """Read one package's pyproject.toml."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return Package(folder=folder, project=project)
