"""`import lt_core` costs little beyond `import torch`, in modules, and loads nothing that a run may not need."""

import json
import os
import subprocess
import sys

import pytest

MOST_FOREIGN = 60
MOST_OWN = 150

OURS = {"lt_core", "lt_fabric", "lt_interfaces"}
# What lt_core loads beyond torch's own dependencies. To add one is a decision.
THIRD_PARTY = {"lightning_utilities", "packaging"}

_REPORT = """
import json, sys
import torch
before = set(sys.modules)
import lt_core
print(json.dumps({"before": sorted(before), "added": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def modules() -> dict[str, list[str]]:
    """Return the modules loaded by torch, and those that lt_core adds to them, in a fresh interpreter."""
    command = [sys.executable, "-W", "error", "-c", _REPORT]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report: dict[str, list[str]] = json.loads(output)
    return report


def top(names: list[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def foreign(names: list[str]) -> list[str]:
    return [name for name in names if name.split(".")[0] not in OURS]


def test_few_modules_are_added_that_are_not_ours(modules: dict[str, list[str]]) -> None:
    assert len(foreign(modules["added"])) <= MOST_FOREIGN, foreign(modules["added"])


def test_our_own_modules_stay_within_their_budget(modules: dict[str, list[str]]) -> None:
    own = [name for name in modules["added"] if name.split(".")[0] in OURS]
    assert len(own) <= MOST_OWN


def test_third_party_packages_are_those_listed(modules: dict[str, list[str]]) -> None:
    loaded_with_torch = top(modules["before"])
    added = top(foreign(modules["added"])) - loaded_with_torch - sys.stdlib_module_names
    assert added == THIRD_PARTY


UNNEEDED = ["torchmetrics", "tensorboard", "rich", "tqdm", "yaml", "matplotlib", "sklearn", "onnx"]
FOUND_BY_NAME = ["lt_callbacks", "lt_loggers", "lt_datamodules"]


@pytest.mark.parametrize("name", [*UNNEEDED, *FOUND_BY_NAME])
def test_what_a_run_may_not_need_is_loaded_when_used(modules: dict[str, list[str]], name: str) -> None:
    assert name not in top(modules["added"])


_LOADED = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
_BY_OUR_NAMES = "import lt; lt.Trainer, lt.Fabric, lt.callbacks.EarlyStopping"
_BY_LIGHTNINGS = (
    "import lt_compat, lightning as L; from lightning.pytorch.callbacks import EarlyStopping; L.Trainer, L.Fabric"
)


def test_lightnings_names_load_what_ours_load_and_nothing_before() -> None:
    def loaded(program: str) -> set[str]:
        command = [sys.executable, "-c", program + _LOADED]
        environment = {name: value for name, value in os.environ.items() if name != "LT_COMPAT"}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        modules: list[str] = json.loads(output)
        return set(modules)

    ours, theirs = loaded(_BY_OUR_NAMES), loaded(_BY_LIGHTNINGS)
    added = {name for name in theirs - ours if top([name]) & OURS or "." not in name}
    assert top(sorted(added)) - sys.stdlib_module_names <= {"lt_compat", "lightning"}
    table_alone = loaded("import lt_compat, lightning.pytorch.callbacks")
    assert not top(sorted(table_alone)) & {"torch", "lt_core", "lt_callbacks", "lt_interfaces", "libcst"}
