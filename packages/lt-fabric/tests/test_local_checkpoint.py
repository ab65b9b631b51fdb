from pathlib import Path
from typing import Any

import pytest

from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_interfaces.commit import commit_folder
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


def test_a_sharded_folder_is_refused_with_what_to_install(tmp_path: Path) -> None:
    with commit_folder(tmp_path / "sharded.ckpt") as folder:
        (folder / "meta.pt").touch()
    with pytest.raises(IsADirectoryError, match="pip install lt-checkpoint-io"):
        LocalCheckpointIO().load_checkpoint(tmp_path / "sharded.ckpt")
    with pytest.raises(IsADirectoryError, match="pip install lt-checkpoint-io"):
        LocalCheckpointIO().load_placed(tmp_path / "sharded.ckpt", lambda place, like: None)


def test_a_file_takes_the_place_of_a_sharded_folder(tmp_path: Path) -> None:
    with commit_folder(tmp_path / "last.ckpt") as folder:
        (folder / "meta.pt").touch()
    LocalCheckpointIO().save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    assert LocalCheckpointIO().load_checkpoint(tmp_path / "last.ckpt") == {"epoch": 2}


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
