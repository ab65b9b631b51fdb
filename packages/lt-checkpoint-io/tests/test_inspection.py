import json
import subprocess
import sys
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from sample_checkpoints import trained

from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.inspection import TensorSummary, inspect_checkpoint
from lt_checkpoint_io.weights import export_safetensors
from lt_interfaces.testing.checkpoint_io import Touch


@pytest.fixture(params=["torch file", "sharded folder"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    if request.param == "torch file":
        torch.save(trained(), path)
    else:
        DistributedCheckpointIO().save_checkpoint(trained(), path)
    return path


def test_counters_versions_and_keys_are_told(checkpoint: Path) -> None:
    summary = inspect_checkpoint(checkpoint)
    assert (summary.epoch, summary.global_step) == (2, 30)
    assert summary.versions == {"lightning format": "2.6.0", "lt-core": "0.1.0"}
    assert [entry.name for entry in summary.entries] == list(trained())
    (weights, *_, step) = (entry for entry in summary.entries if entry.name in ("state_dict", "epoch"))
    assert (weights.num_tensors, weights.num_values) == (9, 12 + 4 + 4 * 4 + 1 + 4 + 1)
    assert weights.nbytes == 37 * 4 + 8
    assert step.preview == "2"


def test_tensors_are_told_with_shape_and_dtype(checkpoint: Path) -> None:
    tensors = inspect_checkpoint(checkpoint).tensors
    assert tensors[0] == TensorSummary("state_dict.0.weight", (4, 3), torch.float32, 48)
    assert "optimizer_states.0.state.0.exp_avg" in [tensor.name for tensor in tensors]


def test_it_reads_well(checkpoint: Path) -> None:
    text = str(inspect_checkpoint(checkpoint))
    assert text.startswith(f"{checkpoint}\n  format:")
    assert "state_dict.0.weight" in text
    assert "more tensors" in text
    assert "more tensors" not in inspect_checkpoint(checkpoint).render()


def test_safetensors_are_told_too(checkpoint: Path, tmp_path: Path) -> None:
    summary = inspect_checkpoint(export_safetensors(checkpoint, tmp_path / "model.safetensors"))
    assert (summary.format, summary.epoch, summary.global_step) == ("safetensors file", 2, 30)
    assert {tensor.name for tensor in summary.tensors} == {f"state_dict.{name}" for name in trained()["state_dict"]}


def test_tied_tensors_count_once(tmp_path: Path) -> None:
    shared = torch.ones(10)
    torch.save({"state_dict": {"in": shared, "out": shared}}, tmp_path / "c.ckpt")
    (entry,) = inspect_checkpoint(tmp_path / "c.ckpt").entries
    assert (entry.num_tensors, entry.num_values, entry.nbytes) == (2, 10, 40)


def test_files_from_before_zip_are_told(tmp_path: Path) -> None:
    torch.save(trained(), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert inspect_checkpoint(tmp_path / "old.ckpt").global_step == 30


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        inspect_checkpoint(tmp_path / "nothing")
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(UnpicklingError, match="holds a list"):
        inspect_checkpoint(tmp_path / "list.ckpt")
    torch.save(trained(), tmp_path / "c.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "c.ckpt").read_bytes()[:-300])
    (tmp_path / "text.ckpt").write_text("text")
    (tmp_path / "folder").mkdir()
    torch.save({"hook": Touch(tmp_path / "was_here")}, tmp_path / "hostile.ckpt")
    for name in ("cut.ckpt", "text.ckpt", "folder", "hostile.ckpt"):
        with pytest.raises(UnpicklingError, match=name):
            inspect_checkpoint(tmp_path / name)
    assert not (tmp_path / "was_here").exists()


_MEASURE = """
import sys
from pathlib import Path
from lt_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.inspection import inspect_checkpoint

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

inspect_checkpoint(sys.argv[1])
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
str(inspect_checkpoint(sys.argv[2]))
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("sharded", [False, True])
def test_tensors_stay_on_disk(tmp_path: Path, sharded: bool) -> None:
    big = {"state_dict": {f"layer{index}": torch.ones(2**20) for index in range(30)}}
    for name, content in (("small", {"state_dict": {"x": torch.ones(1)}}), ("big", big)):
        if sharded:
            DistributedCheckpointIO().save_checkpoint(content, tmp_path / name)
        else:
            torch.save(content, tmp_path / name)
    arguments = [sys.executable, "-c", _MEASURE, str(tmp_path / "small"), str(tmp_path / "big")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 5 * 2**20
