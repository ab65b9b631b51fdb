"""Lets tests import the modules beside them, and keeps trackers to the test's own folder and off the network."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # What trackers leave open or call by an old name is theirs to mend.
        for kind in ("DeprecationWarning", "FutureWarning", "ResourceWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::{kind}"))


@pytest.fixture(autouse=True)
def _tracker_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trackers keep what they keep for all runs beside the test's folder, and start the test in an empty one."""
    folder = tmp_path_factory.mktemp("tracker")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "HOME"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("COMET_LOGGING_CONSOLE", "CRITICAL")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path_factory.mktemp("started_here"))
