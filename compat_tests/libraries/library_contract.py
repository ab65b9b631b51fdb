"""What's promised of every library: it trains, saves, loads and predicts on lt, as it does on Lightning."""

import json
import subprocess
import sys
from abc import ABC
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from compat_tests.libraries.sides import LT, OTHER_PYTHON, Side, Story, lightning

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "compat-libraries.md"
BESIDE_THE_VALUES = ("epoch", "hp_metric")
"""What's logged in other places, as the page of differences says: beside learning rates, and in continued folders."""


class Runs:
    """The runs of one library, each told once, when it's first asked for."""

    def __init__(self, story: str, folder: Path) -> None:
        self.story = story
        self._folder = folder

    @cached_property
    def ours(self) -> Story:
        """What training on lt tells."""
        return LT.train(self.story, self._folder / "lt")

    @cached_property
    def theirs(self) -> Story:
        """What training on Lightning tells; skips the test where there's none."""
        return self.lightning.train(self.story, self._folder / "lightning")

    @cached_property
    def ours_again(self) -> Story:
        """What lt tells of its own checkpoint."""
        return LT.reload(self.story, self.ours["checkpoint"], self._folder / "lt-of-lt")

    @cached_property
    def theirs_here(self) -> Story:
        """What lt tells of Lightning's checkpoint."""
        return LT.reload(self.story, self.theirs["checkpoint"], self._folder / "lt-of-lightning")

    @cached_property
    def ours_there(self) -> Story:
        """What Lightning tells of lt's checkpoint."""
        return self.lightning.reload(self.story, self.ours["checkpoint"], self._folder / "lightning-of-lt")

    @cached_property
    def lightning(self) -> Side:
        """The other side; skips the test where there's none."""
        side = lightning()
        if side is None:
            pytest.skip(f"needs a Python with a real Lightning and the same libraries in {OTHER_PYTHON}")
        return side


class LibraryContract(ABC):
    """Subclass it, call the class ``Test...``, and name the library and its story."""

    story: ClassVar[str]
    """The module in ``stories/`` that trains it."""
    package: ClassVar[str]
    """What's imported of it."""
    falling: ClassVar[str]
    """A loss that has to fall while it's trained."""
    steps_at_the_end: ClassVar[int]
    """Where ``reload`` ends, which goes on from the checkpoint of ``train``."""

    def test_it_runs_without_any_lightning_installed(self) -> None:
        for name in ("lightning", "pytorch-lightning", "lightning-fabric"):
            with pytest.raises(PackageNotFoundError):
                distribution(name)

    def test_it_trains_and_validates(self, runs: Runs) -> None:
        losses = runs.ours["logged"][self.falling]
        assert losses[-1] < losses[0]
        assert any("val" in name for name in runs.ours["logged"])

    def test_predictions_are_the_same_after_its_own_class_has_loaded_the_checkpoint(self, runs: Runs) -> None:
        assert runs.ours_again["predicted"] == pytest.approx(runs.ours["predicted"], rel=1e-6)

    def test_training_goes_on_from_the_checkpoint(self, runs: Runs) -> None:
        assert runs.ours_again["epochs"] == 5
        assert runs.ours_again["steps"] == self.steps_at_the_end

    def test_what_it_logs_tests_and_predicts_is_what_lightning_makes_it(self, runs: Runs) -> None:
        ours, theirs = _comparable(runs.ours), _comparable(runs.theirs)
        assert ours == theirs

    def test_a_checkpoint_of_lightnings_loads_and_goes_on(self, runs: Runs) -> None:
        assert runs.theirs_here["predicted"] == pytest.approx(runs.theirs["predicted"], rel=1e-6)
        assert runs.theirs_here["steps"] == self.steps_at_the_end

    def test_a_checkpoint_of_ours_loads_in_lightning_and_goes_on_there(self, runs: Runs) -> None:
        assert runs.ours_there["predicted"] == pytest.approx(runs.ours["predicted"], rel=1e-6)
        assert runs.ours_there["steps"] == self.steps_at_the_end

    def test_every_name_that_it_imports_is_there(self) -> None:
        assert not [use for use in _missing(self.package) if not use["optional"]]

    def test_the_page_tells_of_the_version_that_is_tested(self) -> None:
        name = self.package.replace("_", "-")
        assert f"| {name} {distribution(name).version} |" in PAGE.read_text()


def _comparable(told: Story) -> Mapping[str, Any]:
    """Return what a run tells, without where it lay and what's known to differ."""
    logged = {name: values for name, values in told["logged"].items() if name not in BESIDE_THE_VALUES}
    return {**told, "logged": logged, "checkpoint": Path(told["checkpoint"]).suffix}


def _missing(package: str) -> list[Mapping[str, Any]]:
    """Return the names that the tool for checking doesn't find, of all that a package uses."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    command = [sys.executable, "-m", "lt_compat", "check", "--format", "json", "--only", "missing"]
    process = subprocess.run(
        [*command, str(Path(spec.origin).parent)], capture_output=True, text=True, timeout=200, check=True
    )
    return [use for file in json.loads(process.stdout)["files"] for use in file["findings"]]
