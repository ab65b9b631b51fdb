"""What's wrong with a checkpoint or the place where it should go is said clearly, and costs no earlier checkpoint."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_callbacks import ModelCheckpoint
from lt_checkpoint_io import verify_checkpoint
from lt_core import LightningModule, Trainer
from lt_fabric import Fabric
from lt_interfaces.commit import is_whole
from lt_interfaces.torch_file import load_torch_file

Door = Callable[[Path], Any]

# Saving to the same names again is the point of some tests.
pytestmark = pytest.mark.filterwarnings("ignore:The folder of checkpoints")


class Net(LightningModule):
    def __init__(self, width: int = 4, layers: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.ModuleList([nn.Linear(3, width)] + [nn.Linear(width, width) for _ in range(layers - 1)])

    def loss(self, batch: Any) -> Tensor:
        value = batch[0]
        for layer in self.layers:
            value = layer(value)
        return F.mse_loss(value, torch.zeros_like(value))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def data() -> Any:
    return DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=2)


def trainer_in(folder: Path, **arguments: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "max_epochs": 2}
    return Trainer(accelerator="cpu", default_root_dir=folder, **(quiet | arguments))


def bare(folder: Path) -> Trainer:
    return trainer_in(folder, enable_checkpointing=False)


DOORS: dict[str, Door] = {
    "fit": lambda path: bare(path.parent).fit(Net(), data(), data(), ckpt_path=path),
    "validate": lambda path: bare(path.parent).validate(Net(), data(), ckpt_path=path, verbose=False),
    "test": lambda path: bare(path.parent).test(Net(), data(), ckpt_path=path, verbose=False),
    "load_from_checkpoint": Net.load_from_checkpoint,
    "Fabric.load": lambda path: Fabric(accelerator="cpu").load(path, {"state_dict": Net()}),
}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the checkpoint of a short run."""
    path = tmp_path / "good" / "one.ckpt"
    trainer = trainer_in(tmp_path, max_epochs=1, enable_checkpointing=False)
    trainer.fit(Net(), data(), data())
    trainer.save_checkpoint(path)
    return path


# --- what is loaded ---


def test_a_whole_checkpoint_passes_every_door(door: Door, path: Path) -> None:
    door(path)


def test_a_missing_file_is_named(door: Door, path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"good/two\.ckpt"):
        door(path.with_name("two.ckpt"))


def test_a_folder_is_no_file(door: Door, path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="good` is a folder"):
        door(path.parent)


@pytest.mark.parametrize("kept", [0.0, 0.002, 0.5, 0.999])
def test_a_cut_file_is_called_damaged(door: Door, path: Path, kept: float) -> None:
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(UnpicklingError, match=r"one\.ckpt` is damaged: it was never written to its end, or cut off"):
        door(path)


def test_a_damaged_description_is_called_damaged(door: Door, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"hyper_parameters", b"\xff\xff\xff\xff\xff_parameters"))
    with pytest.raises(UnpicklingError, match=r"one\.ckpt` .*damaged"):
        door(path)


def test_text_is_no_checkpoint(door: Door, path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UnpicklingError, match=r"one\.ckpt`"):
        door(path)


def test_a_flipped_bit_in_the_weights_is_found_by_verification(path: Path) -> None:
    assert verify_checkpoint(path).is_good
    weight = load_torch_file(path)["state_dict"]["layers.0.weight"].numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(weight)] ^= 1
    path.write_bytes(content)
    report = verify_checkpoint(path)
    assert not report.is_good
    assert "data" in " ".join(report.problems)


class Hostile:
    """Leaves a mark when it's unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def poison(path: Path, key: str) -> Path:
    """Put an object into a checkpoint that leaves the mark which is returned."""
    mark = path.parent / "mark"
    torch.save(load_torch_file(path) | {key: Hostile(mark)}, path)
    return mark


@pytest.mark.parametrize("key", ["state_dict", "callbacks", "hyper_parameters", "lt", "unheard-of"])
def test_a_hostile_file_runs_nothing_at_any_door(door: Door, path: Path, key: str) -> None:
    mark = poison(path, key)
    with pytest.raises(UnpicklingError, match=r"one\.ckpt` can't be loaded as plain values and tensors"):
        door(path)
    assert not mark.exists()


@pytest.mark.parametrize("word", ["last", "best"])
def test_a_hostile_file_found_by_a_word_runs_nothing(tmp_path: Path, word: str) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", save_last=True, monitor="val_loss")
    trainer = trainer_in(tmp_path, callbacks=[keep])
    trainer.fit(Net(), data(), data())
    mark = poison(Path(keep.last_model_path if word == "last" else keep.best_model_path), "callbacks")
    for run in (partial(trainer.fit, val_dataloaders=data()), trainer.validate, trainer.test):
        with pytest.raises(UnpicklingError, match="can't be loaded as plain values and tensors"):
            run(Net(), data(), ckpt_path=word)
    assert not mark.exists()


def test_a_net_of_another_kind_is_told_in_ten_keys(path: Path) -> None:
    trainer = bare(path.parent)
    for run in (partial(trainer.fit, val_dataloaders=data()), trainer.validate, trainer.test):
        with pytest.raises(RuntimeError, match="The weights don't fit `Net`") as error:
            run(Net(width=5, layers=12), data(), ckpt_path=path)
        message = str(error.value)
        assert "22 keys missing from the checkpoint: `layers.1.weight`" in message
        assert "and 12 more" in message
        assert "2 keys of another shape: `layers.0.weight` (4, 3) instead of (5, 3)" in message
        assert message.count("layers.") == 12


def test_constructor_arguments_that_change_the_net_are_told_too(path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"2 keys of another shape: `layers\.0\.weight` \(4, 3\) instead of \(6, 3\)"
    ):
        Net.load_from_checkpoint(path, width=6)
    with pytest.raises(RuntimeError, match="2 keys of another shape"):
        Fabric(accelerator="cpu").load(path, {"state_dict": Net(width=6)})


def test_fewer_layers_than_saved_are_told(tmp_path: Path, path: Path) -> None:
    bare(tmp_path).fit(large := Net(layers=3), data(), data())
    large.trainer.save_checkpoint(path)
    with pytest.raises(RuntimeError, match=r"4 keys that the module doesn't have: `layers\.1\.weight`"):
        bare(tmp_path).test(Net(), data(), ckpt_path=path)


# --- where it is saved ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of its own, of 256 KiB."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs the superuser of Linux")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting isn't allowed here: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond 64 KiB, which looks like a full disk where none can be mounted."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


LARGE = 100_000
"""A width at which a checkpoint has no room."""


def saves(folder: Path, **arguments: Any) -> None:
    """Train a net, small by default, with checkpoints in a folder."""
    keep = ModelCheckpoint(folder, save_last=True, filename="net", enable_version_counter=False)
    trainer_in(folder, callbacks=[keep], max_epochs=1).fit(Net(**arguments), data(), data())


def assert_kept(folder: Path) -> None:
    """What was saved before is there, whole, and nothing else."""
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "net.ckpt"]
    for path in folder.iterdir():
        assert is_whole(path)
        assert load_torch_file(path)["hyper_parameters"] == {"width": 4, "layers": 1}


def test_a_full_disk_raises_and_costs_nothing(small_disk: Path) -> None:
    saves(small_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*/small_disk/net\.ckpt'") as error:
        saves(small_disk, width=LARGE)
    assert error.value.errno == errno.ENOSPC
    assert_kept(small_disk)
    saves(small_disk)  # there's room again


@pytest.mark.usefixtures("small_files")
def test_a_file_that_must_not_grow_raises_and_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    saves(folder)
    with pytest.raises(OSError, match=r"'.*/kept/net\.ckpt'") as error:
        saves(folder, width=LARGE)
    assert error.value.errno == errno.EFBIG
    assert_kept(folder)


@pytest.mark.usefixtures("small_files")
def test_fabric_says_it_too(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu")
    fabric.save(tmp_path / "net.ckpt", {"net": Net()})
    with pytest.raises(OSError, match=r"'.*/net\.ckpt'"):
        fabric.save(tmp_path / "net.ckpt", {"net": Net(width=LARGE)})
    assert [path.name for path in tmp_path.iterdir()] == ["net.ckpt"]
    fabric.load(tmp_path / "net.ckpt", {"net": Net()})


def test_a_read_only_folder_raises_and_is_named(small_disk: Path) -> None:
    saves(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=r"Read-only file system: '.*/small_disk/net\.ckpt'"):
        saves(small_disk)
    with pytest.raises(OSError, match=r"Read-only file system: '.*/small_disk/new'"):
        saves(small_disk / "new")
    assert_kept(small_disk)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_raises_and_is_named(tmp_path: Path) -> None:
    saves(tmp_path / "kept")
    (tmp_path / "kept").chmod(0o500)
    with pytest.raises(PermissionError, match=r"'.*/kept/net\.ckpt'"):
        saves(tmp_path / "kept")
    assert_kept(tmp_path / "kept")
