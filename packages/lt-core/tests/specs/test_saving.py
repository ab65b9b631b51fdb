import os
from pathlib import Path

import pytest

from lt_core.specs.saving import resolve_saving


def test_everything_goes_under_the_current_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = resolve_saving()
    assert spec.default_root_dir == os.getcwd()
    assert spec.enable_checkpointing is None


def test_local_paths_are_normalised_and_urls_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_saving(default_root_dir="~/runs/./a").default_root_dir == str(tmp_path / "runs" / "a")
    assert resolve_saving(default_root_dir=tmp_path).default_root_dir == str(tmp_path)
    assert resolve_saving(default_root_dir="s3://bucket//runs").default_root_dir == "s3://bucket//runs"


def test_a_model_registry_keeps_its_name_and_is_said_to_have_no_effect() -> None:
    with pytest.warns(UserWarning, match="`model_registry` has no effect"):
        assert resolve_saving(model_registry="team/model:v3").model_registry == "team/model"
