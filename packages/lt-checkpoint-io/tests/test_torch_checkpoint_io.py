import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import fsspec
import pytest
import torch
from store_places import StorePath

from lt_checkpoint_io import DistributedCheckpointIO, TorchCheckpointIO
from lt_interfaces.testing import CheckpointIOContract


class Opaque:
    """Something that's neither a plain value nor a tensor."""


class TestLocally(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> TorchCheckpointIO:
        return TorchCheckpointIO()


class RemoteContract(CheckpointIOContract):
    def test_nothing_is_left_beside_a_checkpoint(self, checkpoint_io: Any, path: Any) -> None:
        checkpoint_io.save_checkpoint({"state_dict": {"weight": torch.ones(1)}}, path)
        assert [entry.name for entry in path.parent.iterdir() if not entry.name.endswith(".manifest.json")] == [
            path.name
        ]
        assert len(path.parent.iterdir()) == 2


class TestInMemory(RemoteContract):
    @pytest.fixture
    def checkpoint_io(self) -> TorchCheckpointIO:
        return TorchCheckpointIO()

    @pytest.fixture
    def path(self, memory_folder: StorePath) -> Any:
        return memory_folder.file("last.ckpt")


class TestInS3(RemoteContract):
    @pytest.fixture
    def checkpoint_io(self, s3_options_of_server: dict[str, Any]) -> TorchCheckpointIO:
        return TorchCheckpointIO(s3_options_of_server)

    @pytest.fixture
    def path(self, s3_folder: StorePath) -> Any:
        return s3_folder.file("last.ckpt")


@pytest.fixture
def checkpoint_io() -> TorchCheckpointIO:
    return TorchCheckpointIO()


def test_file_urls_are_local_paths(checkpoint_io: TorchCheckpointIO, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/run/last.ckpt"
    checkpoint_io.save_checkpoint({"epoch": 1}, url)
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["last.ckpt"]
    assert [found.path for found in checkpoint_io.stored(f"file://{tmp_path}/run")] == [url]
    assert checkpoint_io.is_whole(url)
    assert checkpoint_io.load_checkpoint(url) == {"epoch": 1}
    checkpoint_io.remove_checkpoint(url)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_sharded_folders_are_read_found_and_removed(
    checkpoint_io: TorchCheckpointIO, tmp_path: Path, prefix: str
) -> None:
    url = f"{prefix}{tmp_path}/last.ckpt"
    weight, target = torch.arange(4.0), torch.zeros(4)
    DistributedCheckpointIO().save_checkpoint({"weight": weight, "tied": weight, "epoch": 1}, tmp_path / "last.ckpt")
    loaded = checkpoint_io.load_checkpoint(url)
    assert loaded["epoch"] == 1
    assert torch.equal(loaded["weight"], weight)
    assert loaded["tied"] is loaded["weight"]
    assert checkpoint_io.load_placed(url, lambda place, _: target if place == ("weight",) else None)["weight"] is target
    assert torch.equal(target, weight)
    assert checkpoint_io.load_checkpoint(url, map_location="meta")["weight"].device.type == "meta"
    assert [found.path for found in checkpoint_io.stored(f"{prefix}{tmp_path}")] == [url]
    assert checkpoint_io.is_whole(url)
    checkpoint_io.remove_checkpoint(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_options_are_for_urls_alone(checkpoint_io: TorchCheckpointIO, tmp_path: Path, prefix: str) -> None:
    with pytest.raises(TypeError, match="`storage_options`"):
        checkpoint_io.save_checkpoint({}, f"{prefix}{tmp_path}/a.ckpt", storage_options={"key": 1})


def test_a_url_that_went_through_pathlib_is_refused(checkpoint_io: TorchCheckpointIO) -> None:
    with pytest.raises(ValueError, match="Pass URLs as strings"):
        checkpoint_io.save_checkpoint({}, Path("s3://bucket/last.ckpt"))


def test_a_missing_package_is_named_with_its_install_line(
    checkpoint_io: TorchCheckpointIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install lt-checkpoint-io\[gs\]"):
        checkpoint_io.save_checkpoint({}, "gs://bucket/last.ckpt")


def test_an_unknown_protocol_is_named(checkpoint_io: TorchCheckpointIO) -> None:
    with pytest.raises(ValueError, match=r"ftpx://host/last\.ckpt.*ftpx"):
        checkpoint_io.load_checkpoint("ftpx://host/last.ckpt")


def test_remote_objects_load_for_those_who_trust_them(
    checkpoint_io: TorchCheckpointIO, memory_folder: StorePath
) -> None:
    path = memory_folder.file("a.ckpt")
    with fsspec.open(str(path), "wb") as file:
        torch.save({"callback": Opaque()}, file)
    with pytest.raises(UnpicklingError, match=r"`memory://.*/a\.ckpt` can't.*`weights_only=False`"):
        checkpoint_io.load_checkpoint(path)
    assert isinstance(checkpoint_io.load_checkpoint(path, weights_only=False)["callback"], Opaque)


def test_a_remote_checkpoint_loads_to_the_device_asked_for(
    checkpoint_io: TorchCheckpointIO, memory_folder: StorePath
) -> None:
    path = memory_folder.file("a.ckpt")
    checkpoint_io.save_checkpoint({"weight": torch.ones(1)}, path)
    assert checkpoint_io.load_checkpoint(path, map_location="meta")["weight"].device.type == "meta"


def test_the_newest_of_several_remote_checkpoints_can_be_told(
    checkpoint_io: TorchCheckpointIO, memory_folder: StorePath
) -> None:
    for name in ("a.ckpt", "b.ckpt", "sub/c.ckpt"):
        checkpoint_io.save_checkpoint({}, memory_folder.file(name))
    found = checkpoint_io.stored(f"{memory_folder}/")
    assert sorted(found, key=lambda stored: stored.modified_seconds) == found
    assert [stored.path for stored in found] == [f"{memory_folder}/a.ckpt", f"{memory_folder}/b.ckpt"]
