"""Lets the tests of this folder import their neighbours: pytest's import mode leaves their folder out of the path."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lt_interfaces import plugins

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def looked_up_afresh() -> Iterator[None]:
    """Let plugin lookup forget what was installed before the test, and what the test installed."""
    plugins._installed.cache_clear()
    yield
    plugins._installed.cache_clear()
