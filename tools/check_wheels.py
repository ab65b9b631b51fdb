"""Gate: every wheel stands on what it declares, and lt-core trains without any other package beside it.

Each wheel is built, installed into an environment of its own that holds torch, the wheel and its declared dependencies
(siblings from the same build), and imported there.
"""

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from isolation import (
    CommandFailedError,
    build_wheel,
    environment_on,
    install,
    python,
    run,
    siblings,
    torch_environment,
)
from workspace import ROOT, Package, packages

TRAINING = ROOT / "tools/train_with_core_alone.py"


@dataclass(frozen=True)
class Build:
    """One build of the whole monorepo."""

    packages: Mapping[str, Package]
    wheels: Mapping[str, Path]
    base: Path
    workplace: Path


def foreign_files(wheel: Path, module: str) -> list[str]:
    """Return what a wheel holds besides its own module and its metadata."""
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in names if not name.startswith(f"{module}/") and ".dist-info/" not in name]


def check_wheel(package: Package, build: Build) -> list[str]:
    """Install one wheel alone and use it; return what went wrong."""
    wheel = build.wheels[package.name]
    if strangers := foreign_files(wheel, package.module):
        return [f"{wheel.name} holds files outside {package.module}/: {', '.join(strangers)}"]
    needed = [build.wheels[sibling.name] for sibling in siblings(package, build.packages)]
    environment = environment_on(build.base, build.workplace / package.name)
    try:
        install(environment, [wheel, *needed])
        run([python(environment), "-I", "-c", f"import {package.module}"], cwd=environment)
        if package.name == "lt-core":
            check_training(environment)
    except CommandFailedError as failure:
        return [f"{wheel.name} alone: {failure}"]
    return []


def check_training(environment: Path) -> None:
    """Train in an empty folder with what the environment holds; the script says what must hold."""
    folder = environment / "empty"
    folder.mkdir()
    run([python(environment), "-I", TRAINING], cwd=folder)


def main() -> int:
    """Build and check all wheels, or those named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="packages to check; all if none is given")
    parser.add_argument("--cache", type=Path, default=Path(sys.prefix) / "isolation", help="where the base is kept")
    arguments = parser.parse_args()
    workspace = {package.name: package for package in packages()}
    arguments.cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=2) as threads:
        workplace = Path(folder)
        wheels = {name: build_wheel(package.folder, into=workplace) for name, package in workspace.items()}
        build = Build(workspace, wheels, torch_environment(arguments.cache), workplace)
        chosen = [workspace[name] for name in arguments.names or workspace]
        problems = [
            line for lines in threads.map(lambda package: check_wheel(package, build), chosen) for line in lines
        ]
    print("\n".join([*problems, f"wheels: {len(chosen)} installed alone, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
