"""Building wheels and installing them into environments that hold nothing but torch and what the wheels declare.

A new environment sees the base (torch alone, made once and kept) through a .pth file, so it costs seconds instead of a
gigabyte.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from workspace import ROOT, Package

CONSTRAINTS = ROOT / "tools/constraints.txt"


class CommandFailedError(Exception):
    """A command of the check failed; the message holds its output."""


def run(command: Sequence[str | Path], *, cwd: Path | None = None) -> str:
    """Run a command and return its output; a failure raises `CommandFailedError` with everything it printed."""
    environment = {**os.environ, "PIP_CONSTRAINT": str(CONSTRAINTS), "OMP_NUM_THREADS": "1"}
    words = [str(word) for word in command]
    finished = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        message = f"{' '.join(words)}\n{finished.stdout}{finished.stderr}"
        raise CommandFailedError(message)
    return finished.stdout


def build_wheel(folder: Path, *, into: Path) -> Path:
    """Build the wheel of one package folder and return its path."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", into], cwd=folder)
    name = folder.name.replace("-", "_")
    return max(into.glob(f"{name}-*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def siblings(package: Package, workspace: Mapping[str, Package]) -> list[Package]:
    """Return every package of the monorepo that this one needs, directly or through another, without itself."""
    found: dict[str, Package] = {}
    open_ends = [package]
    while open_ends:
        for requirement in open_ends.pop().requirements:
            name = canonicalize_name(requirement.name)
            if name in workspace and name not in found:
                found[name] = workspace[name]
                open_ends.append(workspace[name])
    return list(found.values())


def torch_environment(cache: Path) -> Path:
    """Return the base environment that holds torch alone; made on the first call, kept for the next."""
    key = hashlib.sha256(f"{sys.version}{CONSTRAINTS.read_text()}".encode()).hexdigest()[:12]
    base = cache / f"torch-{key}"
    if not base.exists():
        # Made under another name: an interrupted install must not pass for a whole one.
        draft = cache / f"torch-{key}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        _create(draft)
        install(draft, ["torch"])
        draft.rename(base)
    return base


def environment_on(base: Path, folder: Path) -> Path:
    """Create an environment that sees another one's packages beside its own, and return it."""
    _create(folder)
    (site_packages(folder) / "base.pth").write_text(f"{site_packages(base)}\n")
    return folder


def install(environment: Path, requirements: Iterable[str | Path]) -> None:
    """Install requirements or wheels into an environment with the pip that runs this tool."""
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python(environment),
        "--disable-pip-version-check",
    ]
    run([*pip, "install", "--quiet", *requirements])


def python(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / "bin/python"


def site_packages(environment: Path) -> Path:
    """Return the folder into which packages of an environment are installed."""
    return next(environment.glob("lib/python*/site-packages"))


def _create(folder: Path) -> None:
    venv.create(folder, with_pip=False, symlinks=True, clear=True)
