import json
import subprocess
import sys
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from safetensors.torch import load_file
from sample_checkpoints import assert_equal, trained

from lt_checkpoint_io.consolidation import consolidate_checkpoint
from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.verification import verify_checkpoint
from lt_interfaces.torch_file import load_torch_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    DistributedCheckpointIO().save_checkpoint(trained(), tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_the_file_holds_what_the_folder_held(folder: Path) -> None:
    file = consolidate_checkpoint(folder)
    assert file == folder.with_name("last.ckpt.consolidated")
    assert_equal(load_torch_file(file), DistributedCheckpointIO().load_checkpoint(folder))
    assert_equal(load_torch_file(file), trained())


def test_the_file_is_whole_to_the_last_bit(folder: Path) -> None:
    assert verify_checkpoint(consolidate_checkpoint(folder)).problems == []


def test_the_file_can_be_mapped(folder: Path) -> None:
    mapped = torch.load(consolidate_checkpoint(folder), weights_only=True, mmap=True)
    assert_equal(mapped, trained())


def test_odd_tensors_survive(tmp_path: Path) -> None:
    shared = torch.arange(3.0)
    checkpoint = {
        "in": shared,
        "out": shared,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "unsigned": torch.ones(2, dtype=torch.uint16),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(True),
        "sparse": torch.eye(2).to_sparse(),
        "complex": torch.ones(2, dtype=torch.complex128),
    }
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "c")
    loaded = load_torch_file(consolidate_checkpoint(tmp_path / "c"))
    assert loaded["in"].data_ptr() == loaded["out"].data_ptr()
    assert torch.equal(loaded.pop("sparse").to_dense(), torch.eye(2))
    assert torch.equal(loaded.pop("float8").float(), torch.ones(2))
    assert_equal(loaded, {name: checkpoint[name] for name in checkpoint if name not in ("sparse", "float8")})


def test_weights_become_safetensors(folder: Path) -> None:
    file = consolidate_checkpoint(folder, folder.with_name("model.safetensors"), format="safetensors")
    weights = load_file(file)
    expected = trained()["state_dict"]
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_progress_ends_at_the_total(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    consolidate_checkpoint(folder, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] > 0


def test_an_existing_target_is_refused(folder: Path) -> None:
    consolidate_checkpoint(folder)
    with pytest.raises(FileExistsError, match=r"last\.ckpt\.consolidated"):
        consolidate_checkpoint(folder)


def test_an_unknown_format_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"`format`.*'pickle'"):
        consolidate_checkpoint(folder, format="pickle")  # type: ignore[arg-type]


def test_bad_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        consolidate_checkpoint(tmp_path / "nothing")
    torch.save({}, tmp_path / "file.ckpt")
    with pytest.raises(NotADirectoryError, match=r"file\.ckpt"):
        consolidate_checkpoint(tmp_path / "file.ckpt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnpicklingError, match="folder"):
        consolidate_checkpoint(tmp_path / "folder")
    assert not (tmp_path / "folder.consolidated").exists()


_MEASURE = """
import json, resource, sys, torch
import lt_checkpoint_io.sharded_folder
from lt_checkpoint_io.consolidation import consolidate_checkpoint
from pathlib import Path

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

consolidate_checkpoint(sys.argv[1], sys.argv[3])  # a small one first: libraries and caches
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
consolidate_checkpoint(sys.argv[2], sys.argv[4], format=sys.argv[5])
print(json.dumps(status("VmHWM") - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("format", ["torch", "safetensors"])
def test_peak_memory_stays_under_twice_the_largest_tensor(tmp_path: Path, format: str) -> None:
    largest = 16 * 2**20
    big = {"state_dict": {f"layer{index}": torch.full((largest // 4,), float(index)) for index in range(40)}}
    DistributedCheckpointIO().save_checkpoint({"state_dict": {"x": torch.ones(2)}}, tmp_path / "small")
    DistributedCheckpointIO().save_checkpoint(big, tmp_path / "big")
    arguments = [tmp_path / "small", tmp_path / "big", tmp_path / "small.out", tmp_path / "big.out", format]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 2 * largest
