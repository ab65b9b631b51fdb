from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch

from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_interfaces.testing import CheckpointIOContract


class Opaque:
    """Something that's neither a plain value nor a tensor."""


class TestLocalCheckpointIO(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> LocalCheckpointIO:
        return LocalCheckpointIO()


def test_objects_load_for_those_who_trust_the_file(tmp_path: Path) -> None:
    torch.save({"callback": Opaque()}, tmp_path / "a.ckpt")
    with pytest.raises(UnpicklingError, match=r"a\.ckpt.*`weights_only=False`"):
        LocalCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")
    loaded = LocalCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    assert isinstance(loaded["callback"], Opaque)


@pytest.mark.parametrize("weights_only", [None, False])
def test_a_file_of_something_else_is_named(tmp_path: Path, weights_only: bool | None) -> None:
    (tmp_path / "notes.ckpt").write_text("hello")
    with pytest.raises(UnpicklingError, match=r"notes\.ckpt.*damaged"):
        LocalCheckpointIO().load_checkpoint(tmp_path / "notes.ckpt", weights_only=weights_only)


def test_a_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="folder"):
        LocalCheckpointIO().load_checkpoint(tmp_path)


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("me")
    with pytest.raises(IsADirectoryError):
        LocalCheckpointIO().save_checkpoint({}, tmp_path)
    assert (tmp_path / "keep").read_text() == "me"


def test_options_of_remote_storage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="`storage_options`"):
        LocalCheckpointIO().save_checkpoint({}, tmp_path / "a.ckpt", storage_options={"key": 1})


def test_a_folder_left_by_another_checkpoint_io_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "sharded.ckpt"
    folder.mkdir()
    (folder / "meta.pt").touch()
    LocalCheckpointIO().remove_checkpoint(folder)
    assert not folder.exists()


def test_tensors_go_where_they_are_asked_to(tmp_path: Path) -> None:
    LocalCheckpointIO().save_checkpoint({"weight": torch.ones(1)}, tmp_path / "a.ckpt")
    loaded = LocalCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", map_location="meta")
    assert loaded["weight"].device.type == "meta"


def test_a_file_that_was_cut_off_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    LocalCheckpointIO().save_checkpoint({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnpicklingError, match=r"a\.ckpt.*damaged"):
        LocalCheckpointIO().load_checkpoint(path)
