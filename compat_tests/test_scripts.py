"""Scripts written for Lightning leave the same behind under Lightning, under lt-compat, and migrated to lt's names."""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from compat_tests.known_differences import KNOWN
from compat_tests.observations import Difference, differences, observations
from compat_tests.running import SCRIPTS, SECONDS, migrate, under_lightning, under_lt_compat, without_names

PAGE = SCRIPTS.parents[1] / "docs" / "explanation" / "differences.md"
NAMES = sorted(script.stem for script in SCRIPTS.glob("*.py"))
IN_EVERY_GATE = ("classifier", "loggers", "resume")
"""What most scripts use is in these; the others are run every night."""


def _scripts() -> Iterator[Any]:
    for name in NAMES:
        yield pytest.param(name, marks=[] if name in IN_EVERY_GATE else [pytest.mark.nightly])


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("name", list(_scripts()))
def test_a_script_leaves_the_same_behind_on_lightning_on_lt_compat_and_migrated(name: str, tmp_path: Path) -> None:
    script = SCRIPTS / f"{name}.py"
    under_lightning(script, tmp_path / "lightning")
    under_lt_compat(script, tmp_path / "lt-compat")
    ours = observations(tmp_path / "lt-compat")
    unlisted, listed = _sorted_by_table(differences(observations(tmp_path / "lightning"), ours), KNOWN.get(name, {}))
    assert unlisted == []
    assert listed == set(KNOWN.get(name, {}))

    migrated = Path(shutil.copy(script, tmp_path))
    migrate(migrated)
    without_names(migrated, tmp_path / "migrated")
    assert list(differences(ours, observations(tmp_path / "migrated"))) == []


def _sorted_by_table(found: Iterable[Difference], known: Mapping[str, str]) -> tuple[list[Difference], set[str]]:
    """Return the differences that no pattern of the table tells of, and the patterns that tell of one."""
    unlisted, met = [], set()
    for difference in found:
        patterns = {pattern for pattern in known if fnmatchcase(difference.place, pattern)}
        met |= patterns
        if not patterns:
            unlisted.append(difference)
    return unlisted, met


@pytest.mark.nightly
@pytest.mark.timeout(6 * SECONDS)
def test_each_side_goes_on_from_the_others_checkpoint_as_from_its_own(tmp_path: Path) -> None:
    script, sides = SCRIPTS.parent / "going_on.py", {"lightning": under_lightning, "lt-compat": under_lt_compat}
    seen = {}
    for writer, write in sides.items():
        write(script, tmp_path / writer)
        for reader, read in sides.items():
            folder = tmp_path / f"{writer}, then {reader}"
            read(script, folder, str(tmp_path / writer / "last.ckpt"))
            seen[folder.name] = observations(folder)["observed"]
    first, *others = seen.values()
    assert len(first["losses"]) == 10
    assert [list(differences(first, other)) for other in others] == [[], [], []]


def test_migrating_twice_changes_nothing_more(tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    migrate(tmp_path / "scripts")
    once = {path.name: path.read_text() for path in (tmp_path / "scripts").iterdir()}
    migrate(tmp_path / "scripts")
    assert {path.name: path.read_text() for path in (tmp_path / "scripts").iterdir()} == once
    assert all(text != (SCRIPTS / name).read_text() for name, text in once.items())
    assert [name for name, text in once.items() if "lt_compat" in text] == ["bug_report.py"]  # for its BoringModel


def test_every_known_difference_is_a_row_of_the_page() -> None:
    titles = {line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text().splitlines()}
    named = {row for places in KNOWN.values() for row in places.values()}
    assert named - titles == set()
    assert set(KNOWN) <= set(NAMES)


def test_the_scripts_import_lightning_in_every_way() -> None:
    text = "\n".join(script.read_text() for script in SCRIPTS.glob("*.py"))
    ways = [
        r"import lightning as L$", r"import lightning\.pytorch as pl$", r"import pytorch_lightning as pl$",
        r"import lightning\.fabric$", r"from lightning import ", r"from lightning\.pytorch import ",
        r"from lightning\.pytorch\.callbacks import ", r"from lightning\.fabric import ", r"import lightning_fabric$",
        r"from pytorch_lightning import ", r"from pytorch_lightning\.callbacks import ",
        r"import_module\(\"pytorch_lightning\"\)",
    ]  # fmt: skip
    assert [way for way in ways if not re.search(f"^.*{way}", text, re.MULTILINE)] == []
    assert len(NAMES) == 20


def test_whatever_differs_between_two_folders_is_found() -> None:
    theirs = {"losses": [0.5, 1.0], "files": {"a.ckpt": 1}, "name": "x", "step": 3}
    ours = {"losses": [0.5 + 1e-8, 1.001], "files": {"a.ckpt": 1, "b.ckpt": 1}, "name": "y", "step": True}
    found = {difference.place: (difference.theirs, difference.ours) for difference in differences(theirs, ours)}
    assert found == {
        "files/b.ckpt": ("absent", 1),
        "losses/1": (1.0, 1.001),
        "name": ("x", "y"),
        "step": (3, True),
    }
