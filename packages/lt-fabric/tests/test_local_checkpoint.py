from pathlib import Path
from typing import Any

import pytest

from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_interfaces.testing import CheckpointIOContract


class TestLocalCheckpointIO(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> LocalCheckpointIO:
        return LocalCheckpointIO()


def test_options_of_remote_storage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="`storage_options`"):
        LocalCheckpointIO().save_checkpoint({}, tmp_path / "a.ckpt", storage_options={"key": 1})


def test_a_folder_left_by_another_checkpoint_io_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "sharded.ckpt"
    folder.mkdir()
    (folder / "meta.pt").touch()
    LocalCheckpointIO().remove_checkpoint(folder)
    assert not folder.exists()


URL = "s3://bucket/a.ckpt"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("save_checkpoint", ({}, URL)),
        ("load_checkpoint", (URL,)),
        ("remove_checkpoint", (URL,)),
        ("stored", (URL,)),
        ("is_whole", (URL,)),
    ],
)
def test_a_url_is_refused_with_what_to_install(method: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="pip install lt-checkpoint-io"):
        getattr(LocalCheckpointIO(), method)(*arguments)
