import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lt_compat.finder import CompatFinder
from lt_compat.modules import ROOTS
from lt_interfaces.hyperparameters import AttributeDict

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lightning_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Lightning's names resolve to lt's in this process, until the test ends."""
    monkeypatch.setattr(sys, "meta_path", [CompatFinder("of this test"), *sys.meta_path])
    monkeypatch.setattr(AttributeDict, "__module__", AttributeDict.__module__)  # names that resolve change it
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ROOTS]:
        del sys.modules[name]


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """Return a function that runs Python in a new process in an empty folder, with LT_COMPAT and the path as given."""

    def run(
        *words: str | Path, switch: str | None = None, path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        ours = {"LT_CALLBACK_FACTORIES", "LT_CHECKPOINT_OBJECTS", "LT_COMPAT", "PYTHONPATH"}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        added = {"LT_COMPAT": switch, "PYTHONPATH": str(path) if path else None}
        environment = kept | {name: value for name, value in added.items() if value is not None}
        command = [sys.executable, *(str(word) for word in words)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
        )

    return run
