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
from functools import partial
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
from workspace import ROOT, Package, packages, stand_ins

TRAINING = ROOT / "tools/train_with_core_alone.py"
READ_AT_START = ("lt_compat.pth",)
"""What wheels bring for Python to read when it starts, beside their modules."""
LIGHTNING = "import lightning.pytorch as pl, lt_core; assert pl.Trainer is lt_core.Trainer"


@dataclass(frozen=True)
class Build:
    """One build of the whole monorepo."""

    packages: Mapping[str, Package]
    wheels: Mapping[str, Path]
    base: Path
    workplace: Path


def foreign_files(wheel: Path, *modules: str) -> list[str]:
    """Return what a wheel holds besides its own modules and its metadata."""
    folders = tuple(f"{module}/" for module in modules)
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name not in READ_AT_START]
    return [name for name in names if not name.startswith(folders) and ".dist-info/" not in name]


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
        if package.name == "lt-compat":
            run(["env", "LT_COMPAT=on", python(environment), "-I", "-c", LIGHTNING], cwd=environment)
    except CommandFailedError as failure:
        return [f"{wheel.name} alone: {failure}"]
    return []


def check_stand_in(package: Package, build: Build) -> list[str]:
    """Install a wheel that carries others' names, and use one; return what went wrong."""
    wheel = build_wheel(package.folder, into=build.workplace)
    if strangers := foreign_files(wheel, *(child.name for child in package.source.iterdir())):
        return [f"{wheel.name} holds other files than its modules: {', '.join(strangers)}"]
    needed = [build.wheels[sibling.name] for sibling in siblings(package, build.packages)]
    environment = environment_on(build.base, build.workplace / package.name)
    try:
        install(environment, [wheel, *needed])
        run([python(environment), "-I", "-c", LIGHTNING], cwd=environment)
    except CommandFailedError as failure:
        return [f"{wheel.name}: {failure}"]
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
        stand_ins_too = [] if arguments.names else stand_ins()
        checks = [partial(check_wheel, package, build) for package in chosen]
        checks += [partial(check_stand_in, package, build) for package in stand_ins_too]
        problems = [line for lines in threads.map(lambda check: check(), checks) for line in lines]
    print("\n".join([*problems, f"wheels: {len(checks)} installed alone, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
