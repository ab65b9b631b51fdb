import subprocess
import sys
from pathlib import Path
from pickle import PicklingError, UnpicklingError
from typing import Any

import pytest
import torch

from lt_interfaces.torch_file import load_torch_file, save_torch_file


class Opaque:
    """Something that's neither a plain value nor a tensor."""


class Touch:
    """Leaves a file where it's unpickled: stands for code in a hostile checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "a.ckpt"


def test_what_was_saved_is_loaded_to_the_cpu(path: Path) -> None:
    save_torch_file({"epoch": 3, "weight": torch.arange(3.0)}, path)
    loaded = load_torch_file(path)
    assert loaded["epoch"] == 3
    assert loaded["weight"].device.type == "cpu"
    assert torch.equal(loaded["weight"], torch.arange(3.0))


def test_tensors_go_where_they_are_asked_to(path: Path) -> None:
    save_torch_file({"weight": torch.ones(1)}, path)
    assert load_torch_file(path, map_location="meta")["weight"].device.type == "meta"


def test_a_save_that_fails_leaves_what_was_there_and_nothing_else(path: Path) -> None:
    save_torch_file({"epoch": 1}, path)
    with pytest.raises((PicklingError, AttributeError), match=r"pickle|local"):
        save_torch_file({"epoch": 2, "function": lambda: None}, path)
    assert load_torch_file(path) == {"epoch": 1}
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("me")
    with pytest.raises(IsADirectoryError):
        save_torch_file({}, tmp_path)
    assert (tmp_path / "keep").read_text() == "me"


@pytest.mark.parametrize("weights_only", [None, True])
def test_nothing_in_a_file_is_run_unasked(path: Path, tmp_path: Path, weights_only: bool | None) -> None:
    save_torch_file({"callbacks": Touch(tmp_path / "was_here")}, path)
    with pytest.raises(UnpicklingError, match=r"a\.ckpt.*`weights_only=False`"):
        load_torch_file(path, weights_only=weights_only)
    assert not (tmp_path / "was_here").exists()


def test_objects_load_for_those_who_trust_the_file(path: Path) -> None:
    save_torch_file({"callback": Opaque()}, path)
    assert isinstance(load_torch_file(path, weights_only=False)["callback"], Opaque)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at `.*a\.ckpt`"):
        load_torch_file(path)


def test_a_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="folder"):
        load_torch_file(tmp_path)


@pytest.mark.parametrize("weights_only", [None, False])
def test_a_file_of_something_else_is_named(tmp_path: Path, weights_only: bool | None) -> None:
    (tmp_path / "notes.ckpt").write_text("hello")
    with pytest.raises(UnpicklingError, match=r"notes\.ckpt.*damaged"):
        load_torch_file(tmp_path / "notes.ckpt", weights_only=weights_only)


@pytest.mark.parametrize("bytes_left", [0, 1, 100, -1])
@pytest.mark.parametrize("weights_only", [None, False])
def test_a_file_that_was_cut_off_is_called_damaged(path: Path, bytes_left: int, weights_only: bool | None) -> None:
    save_torch_file({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(UnpicklingError, match=r"a\.ckpt.*damaged"):
        load_torch_file(path, weights_only=weights_only)


_SAVE_MORE_THAN_ALLOWED = """
import resource
import signal
import sys
import torch
from lt_interfaces.torch_file import save_torch_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    save_torch_file({"weight": torch.ones(1_000_000)}, sys.argv[1])
except OSError as error:
    print("OSError", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_disk_that_takes_no_more_is_an_os_error_and_the_old_file_stays(path: Path) -> None:
    save_torch_file({"epoch": 1}, path)
    command = [sys.executable, "-c", _SAVE_MORE_THAN_ALLOWED, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "OSError" in ended.stdout, ended.stderr
    assert load_torch_file(path) == {"epoch": 1}
    assert list(path.parent.iterdir()) == [path]
