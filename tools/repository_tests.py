"""Pytest plugin of this repository: the same quiet conditions for every test.

pyproject.toml loads it by name (`-p repository_tests`), for unit tests, doctests and integration tests alike.
"""

import os
from pathlib import Path

import pytest

# Before any conftest: `import lt_compat`, which collecting its tests does, would give every other test, and what that
# starts, Lightning's names and checkpoints with any object.
os.environ.setdefault("LT_COMPAT", "off")
os.environ.setdefault("LT_CHECKPOINT_OBJECTS", "refuse")


def pytest_configure(config: pytest.Config) -> None:
    """Give every process one thread, so that parallel tests don't fight over the cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Imported here: OpenMP reads the variable above when torch is loaded.
    import torch

    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` on machines without a CUDA device."""
    # Imported here: see `pytest_configure`.
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _examples_write_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run docstring examples in an empty folder: some write checkpoints and logs to the current one."""
    if isinstance(request.node, pytest.DoctestItem):
        folder: Path = request.getfixturevalue("tmp_path")
        monkeypatch.chdir(folder)
