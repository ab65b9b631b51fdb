"""A full file and a sharded folder take each other's place, and a kill in between loses neither."""

import multiprocessing
import signal
from pathlib import Path

import pytest
import torch
from dying_saver import io_for, save_and_die

from lt_checkpoint_io import TorchCheckpointIO
from lt_interfaces.commit import recover_folder

pytestmark = pytest.mark.usefixtures("forking_server")


def killed_while_saving(path: Path, kind: str, way: str, moment: int) -> bool:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=save_and_die, args=(str(path), kind, way, moment))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("way", ["exchange", "two renames"])
@pytest.mark.parametrize(("old", "new"), [("file", "folder"), ("folder", "file")])
def test_a_kill_while_one_kind_replaces_the_other_leaves_one_of_them_whole(
    tmp_path: Path, old: str, new: str, way: str
) -> None:
    path = tmp_path / "last.ckpt"
    outcomes = []
    for moment in range(1, 40):
        io_for("folder").remove_checkpoint(path)
        io_for(old).save_checkpoint({"epoch": 1, "weight": torch.full((3,), 1.0)}, path)
        was_killed = killed_while_saving(path, new, way, moment)
        loaded = TorchCheckpointIO().load_checkpoint(path)  # it reads both, and brings back what lies aside
        assert TorchCheckpointIO().is_whole(path)
        assert loaded["weight"].tolist() == [float(loaded["epoch"])] * 3
        assert path.is_dir() == ((old if loaded["epoch"] == 1 else new) == "folder")
        outcomes.append(loaded["epoch"])
        if not was_killed:
            break
    assert outcomes == sorted(outcomes)
    assert {1, 2} == set(outcomes)
    recover_folder(path)
    assert [entry for entry in tmp_path.iterdir() if not entry.name.endswith(".tmp")] == [path]


@pytest.mark.parametrize(("old", "new"), [("file", "folder"), ("folder", "file")])
def test_a_save_that_fails_leaves_the_other_kind_as_it_was(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "last.ckpt"
    io_for(old).save_checkpoint({"epoch": 1}, path)
    with pytest.raises(Exception, match=r"pickle|local"):
        io_for(new).save_checkpoint({"hook": lambda: None}, path)
    assert TorchCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("new", ["file", "folder"])
def test_no_folder_that_is_no_checkpoint_is_replaced(tmp_path: Path, new: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    with pytest.raises(IsADirectoryError, match="data"):
        io_for(new).save_checkpoint({"epoch": 1}, tmp_path / "data")
    assert (tmp_path / "data" / "precious").exists()
