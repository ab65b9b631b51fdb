"""Lets tests import the modules beside them and the small GPT, and DeepSpeed 0.19 warn of what torch deprecated."""

import sys
from pathlib import Path

import pytest

# The small GPT and its layouts lie beside the tests of all packages together.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "integration_tests")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for kind in ("DeprecationWarning", "FutureWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::{kind}"))
