import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from pickle import PicklingError, UnpicklingError
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lt_interfaces.torch_file import load_torch_file, read_torch_file, save_torch_file

CONTENT = {"state_dict": {"weight": torch.arange(20.0)}, "epoch": 3, "hyper_parameters": {"tags": {"a"}, "lr": 0.1}}


class Hostile:
    """Makes a file when it's unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    save_torch_file(CONTENT, path)
    return path


def test_what_is_saved_is_read(path: Path) -> None:
    loaded = load_torch_file(path)
    assert torch.equal(loaded["state_dict"].pop("weight"), torch.arange(20.0))
    assert loaded == {"state_dict": {}, "epoch": 3, "hyper_parameters": {"tags": {"a"}, "lr": 0.1}}


def test_nothing_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt"):
        load_torch_file(tmp_path / "nothing.ckpt")
    with pytest.raises(IsADirectoryError, match=r"is a folder.*`pip install lt-checkpoint-io`.*consolidate"):
        load_torch_file(tmp_path)


class Sharded(Tensor):
    """Has what tells a DTensor from others, which needs a process group."""

    device_mesh = placements = ()


def test_sharded_tensors_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    weights = {"layer.weight": Sharded(), "itself": {}}
    weights["itself"] = weights
    with pytest.raises(TypeError, match=r"`state_dict\.layer\.weight` is sharded.*DistributedCheckpointIO.*'full'"):
        save_torch_file({"epoch": 1, "state_dict": weights}, tmp_path / "run" / "last.ckpt")
    with pytest.raises(TypeError, match=r"`optimizer_states\.0\.1` is sharded"):
        save_torch_file({"optimizer_states": [(1, Sharded())]}, tmp_path / "run" / "last.ckpt")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.99])
def test_a_cut_file_is_called_damaged(path: Path, part: float) -> None:
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(UnpicklingError, match="never written to its end, or cut off since"):
        load_torch_file(path)


# A changed byte may name an old class of torch's, or another version of pickle.
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated", "ignore:Detected pickle protocol")
@settings(max_examples=200, deadline=None)
@given(position=st.integers(0), flipped=st.integers(1, 255))
def test_a_changed_byte_is_read_or_called_damage_of_this_file(
    tmp_path_factory: pytest.TempPathFactory, position: int, flipped: int
) -> None:
    path = tmp_path_factory.mktemp("changed") / "last.ckpt"
    save_torch_file(CONTENT, path)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flipped
    path.write_bytes(content)
    try:
        load_torch_file(path)
    except (UnpicklingError, TypeError) as error:
        assert str(path) in str(error)  # noqa: PT017 (most changes are in tensors, where torch doesn't look)


@pytest.mark.parametrize("weights_only", [None, True])
def test_a_hostile_file_runs_nothing(tmp_path: Path, weights_only: bool | None) -> None:
    torch.save({"state_dict": {}, "callbacks": Hostile(tmp_path / "mark")}, tmp_path / "hostile.ckpt")
    with pytest.raises(UnpicklingError, match=r"hostile\.ckpt` can't be loaded .* pass `weights_only=False`"):
        load_torch_file(tmp_path / "hostile.ckpt", weights_only=weights_only)
    assert not (tmp_path / "mark").exists()


def test_a_file_of_trust_runs_what_it_holds(tmp_path: Path) -> None:
    torch.save({"callbacks": Hostile(tmp_path / "mark")}, tmp_path / "trusted.ckpt")
    load_torch_file(tmp_path / "trusted.ckpt", weights_only=False)
    assert (tmp_path / "mark").exists()


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "page.ckpt").write_text("<html>Not found</html>")
    for weights_only in (None, False):
        with pytest.raises(UnpicklingError, match=r"page\.ckpt"):
            load_torch_file(tmp_path / "page.ckpt", weights_only=weights_only)


def test_something_else_than_a_dict_is_told(tmp_path: Path) -> None:
    torch.save(torch.zeros(2), tmp_path / "tensor.ckpt")
    with pytest.raises(TypeError, match=r"tensor\.ckpt` isn't a checkpoint: .* holds a Tensor"):
        load_torch_file(tmp_path / "tensor.ckpt")


def test_an_open_file_is_read_under_its_name() -> None:
    assert read_torch_file(BytesIO(_bytes({"epoch": 1})), name="memory") == {"epoch": 1}
    with pytest.raises(UnpicklingError, match="`memory` is damaged"):
        read_torch_file(BytesIO(_bytes({"epoch": 1})[:-5]), name="memory")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_not_damage(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "gpu.ckpt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "gpu.ckpt").read_bytes()
    (tmp_path / "gpu.ckpt").write_bytes(content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    with pytest.raises(RuntimeError, match="Attempting to deserialize"):
        load_torch_file(tmp_path / "gpu.ckpt", map_location="cuda:0")


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
    assert ended.stdout.startswith("OSError"), ended.stderr
    assert str(path) in ended.stdout
    assert load_torch_file(path) == {"epoch": 1}
    assert list(path.parent.iterdir()) == [path]


def _bytes(content: dict[str, Any]) -> bytes:
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()
