"""Run each package's tests with the lowest and with the highest siblings that it allows, all from built wheels.

A released version is a git tag `<dist>-v<version>`; the versions in the working tree count as about to be released. A
floor that nobody released is an error. It takes minutes and isn't part of the gate: `hatch run bounds [package ...]`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from isolation import CommandFailedError, build_wheel, environment_on, install, python, run, torch_environment
from workspace import ROOT, Package, packages, read_package

Edge = Callable[[Iterable[Version]], Version]
EDGES: Mapping[str, Edge] = {"lowest": min, "highest": max}
TEST_TOOLS = ("hypothesis", "numpy", "pytest", "pytest-timeout")


@dataclass(frozen=True)
class Releases:
    """Every version of every package that can be built: from its tag, or from the working tree."""

    current: Mapping[str, Package]
    workplace: Path

    def versions(self, name: str) -> list[Version]:
        """Return the versions of one package, oldest first."""
        tags = run(["git", "tag", "--list", f"{name}-v*"], cwd=ROOT).split()
        released = {Version(tag.removeprefix(f"{name}-v")) for tag in tags}
        return sorted(released | {Version(self.current[name].version)})

    def package(self, name: str, version: Version) -> Package:
        """Return a package as it was at a version."""
        if version == Version(self.current[name].version):
            return self.current[name]
        folder = self.workplace / f"{name}-{version}"
        if not folder.exists():
            archive = self.workplace / f"{name}-{version}.tar"
            run(["git", "archive", "-o", archive, f"{name}-v{version}", f"packages/{name}"], cwd=ROOT)
            folder.mkdir()
            run(["tar", "-xf", archive, "-C", folder])
        return read_package(folder / "packages" / name)


def choose(requirement: Requirement, versions: list[Version], *, edge: Edge) -> Version:
    """Return the version at one edge of a range; a range whose floor isn't among the versions raises ValueError."""
    floors = [Version(bound.version) for bound in requirement.specifier if bound.operator in (">=", "==")]
    if unknown := [floor for floor in floors if floor not in versions]:
        message = f"`{requirement}` starts at {unknown[0]}, which was never released; there are {_listed(versions)}"
        raise ValueError(message)
    allowed = list(requirement.specifier.filter(versions, prereleases=True))
    if not allowed:
        message = f"`{requirement}` allows none of the released versions {_listed(versions)}"
        raise ValueError(message)
    return edge(allowed)


def _listed(versions: list[Version]) -> str:
    return ", ".join(map(str, versions))


def siblings_at(package: Package, *, releases: Releases, edge: Edge) -> list[Package]:
    """Return the siblings a package needs, each at one edge of the range by which it was first asked for."""
    chosen: dict[str, Package] = {}
    open_ends = [package]
    while open_ends:
        for requirement in open_ends.pop(0).requirements:
            name = canonicalize_name(requirement.name)
            if name in releases.current and name not in chosen:
                chosen[name] = releases.package(name, choose(requirement, releases.versions(name), edge=edge))
                open_ends.append(chosen[name])
    return list(chosen.values())


def check_edge(package: Package, edge: str, *, releases: Releases, base: Path) -> list[str]:
    """Run a package's tests with its siblings at one edge; return what went wrong."""
    try:
        found = siblings_at(package, releases=releases, edge=EDGES[edge])
        place = releases.workplace / f"{package.name}-{edge}"
        environment = environment_on(base, place / "environment")
        wheels = [build_wheel(sibling.folder, into=place) for sibling in found]
        wheel = build_wheel(package.folder, into=place)
        extras = ",".join(package.project.get("optional-dependencies", {}))
        install(environment, [f"{wheel}[{extras}]" if extras else wheel, *wheels, *TEST_TOOLS])
        run([python(environment), "-I", "-m", "pytest", "-q", package.folder / "tests"], cwd=ROOT)
    except (CommandFailedError, ValueError) as failure:
        return [f"{package.name} with the {edge} siblings: {failure}"]
    return []


def main() -> int:
    """Check both edges of all packages, or of those named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="packages to check; all if none is given")
    names = parser.parse_args().names
    current = {package.name: package for package in packages()}
    with tempfile.TemporaryDirectory() as folder:
        releases = Releases(current, Path(folder))
        cache = Path(sys.prefix) / "isolation"
        cache.mkdir(exist_ok=True)
        base = torch_environment(cache)
        problems = [
            line
            for name in names or current
            for edge in EDGES
            for line in check_edge(current[name], edge, releases=releases, base=base)
        ]
    print("\n".join([*problems, f"sibling bounds: {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
