"""DistributedCheckpointIO in one process; `test_distributed_checkpoint_io_in_processes.py` has the ranks."""

import json
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_checkpoints import assert_equal, trained
from torch import nn

from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.inspection import inspect_checkpoint
from lt_checkpoint_io.tensor_tree import leaves
from lt_checkpoint_io.torch_checkpoint_io import TorchCheckpointIO
from lt_interfaces.commit import MANIFEST_NAME, commit_folder, is_whole
from lt_interfaces.testing import CheckpointIOContract
from lt_interfaces.testing.checkpoint_io import Touch
from lt_interfaces.torch_file import save_torch_file


class TestContract(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> DistributedCheckpointIO:
        return DistributedCheckpointIO()


def test_a_trained_model_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint = trained()
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "last.ckpt")
    loaded = DistributedCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    assert_equal(loaded, checkpoint)
    assert loaded["state_dict"]._metadata == checkpoint["state_dict"]._metadata


def test_odd_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    checkpoint = {
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "slice": torch.arange(100)[10:20:3],
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(True),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "complex": torch.ones(2, dtype=torch.complex64),
        "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "sparse": torch.eye(2).to_sparse(),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "odd")
    loaded = DistributedCheckpointIO().load_checkpoint(tmp_path / "odd")
    assert torch.equal(loaded.pop("sparse").to_dense(), torch.eye(2))
    assert loaded.keys() == checkpoint.keys() - {"sparse"}
    for name, tensor in loaded.items():
        assert tensor.dtype == checkpoint[name].dtype
        assert torch.equal(tensor.to(torch.complex64), checkpoint[name].detach().to(torch.complex64)), name


def test_tied_weights_are_written_once_and_stay_tied(tmp_path: Path) -> None:
    shared = torch.ones(1000, 100)
    DistributedCheckpointIO().save_checkpoint(
        {"state_dict": {"in": shared, "out": shared.view(1000, 100)}}, tmp_path / "c"
    )
    assert sum(file.stat().st_size for file in (tmp_path / "c").iterdir()) < 1.1 * shared.nbytes
    weights = DistributedCheckpointIO().load_checkpoint(tmp_path / "c")["state_dict"]
    assert weights["in"].data_ptr() == weights["out"].data_ptr()


def test_names_that_fall_together_are_told_apart(tmp_path: Path) -> None:
    checkpoint = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1), 0: torch.ones(2), "0": torch.zeros(2)}}
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "c")
    assert_equal(DistributedCheckpointIO().load_checkpoint(tmp_path / "c"), checkpoint)


def test_plain_torch_reads_the_tensors(tmp_path: Path) -> None:
    DistributedCheckpointIO().save_checkpoint(trained(), tmp_path / "c")
    target = {"state_dict": {"0.weight": torch.zeros(4, 3)}}
    with pytest.warns(UserWarning, match="single process"):
        torch.distributed.checkpoint.load(target, checkpoint_id=tmp_path / "c", no_dist=True)
    assert torch.equal(target["state_dict"]["0.weight"], trained()["state_dict"]["0.weight"])


def test_reads_single_files_too(tmp_path: Path) -> None:
    save_torch_file({"epoch": 3}, tmp_path / "file.ckpt")
    assert DistributedCheckpointIO().load_checkpoint(tmp_path / "file.ckpt") == {"epoch": 3}


def test_loads_where_it_is_told(tmp_path: Path) -> None:
    DistributedCheckpointIO().save_checkpoint({"weight": torch.ones(2)}, tmp_path / "c")
    for map_location in (
        "meta",
        torch.device("meta"),
        {"cpu": "meta"},
        lambda *_: torch.UntypedStorage(0, device="meta"),
    ):
        loaded = DistributedCheckpointIO().load_checkpoint(tmp_path / "c", map_location=map_location)
        assert loaded["weight"].device.type == "meta"
    kept = DistributedCheckpointIO().load_checkpoint(tmp_path / "c", map_location={"cuda:0": "cuda:1"})
    assert kept["weight"].device.type == "cpu"


def test_storage_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="storage_options"):
        DistributedCheckpointIO().save_checkpoint({}, tmp_path / "c", storage_options={"key": 1})


def test_a_tensor_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"state_dict\.weight.*meta"):
        DistributedCheckpointIO().save_checkpoint(
            {"state_dict": {"weight": torch.ones(1, device="meta")}}, tmp_path / "c"
        )


# --- loading in place ---


def test_load_into_fills_the_given_tensors_and_reads_the_rest(tmp_path: Path) -> None:
    checkpoint = trained()
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "c")
    state = {
        "state_dict": OrderedDict((name, torch.zeros_like(value)) for name, value in checkpoint["state_dict"].items())
    }
    loaded = DistributedCheckpointIO().load_into(tmp_path / "c", state)
    assert_equal(loaded, checkpoint)
    assert all(loaded["state_dict"][name] is tensor for name, tensor in state["state_dict"].items())


def test_load_into_names_what_the_checkpoint_lacks(tmp_path: Path) -> None:
    DistributedCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, tmp_path / "c")
    state = {"state_dict": {"weight": torch.zeros(2), "bias": torch.zeros(1)}}
    with pytest.raises(ValueError, match=r"1 tensors.*`state_dict\.bias`"):
        DistributedCheckpointIO().load_into(tmp_path / "c", state)
    assert torch.equal(state["state_dict"]["weight"], torch.zeros(2))


def test_load_into_names_what_has_another_shape(tmp_path: Path) -> None:
    DistributedCheckpointIO().save_checkpoint({"weight": torch.ones(2)}, tmp_path / "c")
    with pytest.raises(ValueError, match=r"`weight` doesn't fit.*\[2\].*\[3\]"):
        DistributedCheckpointIO().load_into(tmp_path / "c", {"weight": torch.zeros(3)})


def test_load_into_fills_tied_tensors(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    DistributedCheckpointIO().save_checkpoint({"in": shared, "out": shared}, tmp_path / "c")
    state = {"in": torch.zeros(4), "out": torch.zeros(4)}
    DistributedCheckpointIO().load_into(tmp_path / "c", state)
    assert torch.equal(state["in"], shared)
    assert torch.equal(state["out"], shared)


def ask_for_nothing(place: Any, empty: torch.Tensor) -> None:
    return None


def test_a_placed_load_fills_what_it_is_given_and_reads_the_rest(tmp_path: Path) -> None:
    checkpoint = trained()
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "c")
    weights = {name: torch.zeros_like(value) for name, value in checkpoint["state_dict"].items()}
    asked: list[tuple[Any, torch.Size, str]] = []

    def placement(place: Any, empty: torch.Tensor) -> torch.Tensor | None:
        assert not any(weight.any() for weight in weights.values())  # nothing changes before all were asked for
        asked.append((place, empty.size(), empty.device.type))
        return weights[place[1]] if place[0] == "state_dict" else None

    loaded = DistributedCheckpointIO().load_placed(tmp_path / "c", placement)
    assert_equal(loaded, checkpoint)
    assert all(loaded["state_dict"][name] is weight for name, weight in weights.items())
    assert [place for place, _, _ in asked] == [
        place for place, leaf in leaves(checkpoint) if isinstance(leaf, torch.Tensor)
    ]
    assert (("state_dict", "0.weight"), torch.Size([4, 3]), "meta") in asked


def test_a_placed_load_changes_nothing_when_a_tensor_does_not_fit(tmp_path: Path) -> None:
    checkpoint = {"first": torch.ones(2), "second": torch.ones(2)}
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "c")
    targets = {"first": torch.zeros(2), "second": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"`second` doesn't fit.*\[2\].*\[3\]"):
        DistributedCheckpointIO().load_placed(tmp_path / "c", lambda place, _: targets[str(place[0])])
    assert not targets["first"].any()


def test_a_placed_load_keeps_ties_and_fills_tied_places_that_are_not(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    names = ("in", "out", "third", "new", "also new")
    DistributedCheckpointIO().save_checkpoint(dict.fromkeys(names, shared), tmp_path / "c")
    one, other = torch.zeros(4), nn.Parameter(torch.zeros(4, dtype=torch.float64))
    targets = {"in": one, "out": one, "third": other}
    loaded = DistributedCheckpointIO().load_placed(tmp_path / "c", lambda place, _: targets.get(place[0]))
    assert all(loaded[name].tolist() == shared.tolist() for name in names)
    assert loaded["in"] is loaded["out"] is one
    assert loaded["third"] is other
    assert loaded["new"] is loaded["also new"]


def test_a_placed_load_takes_tensors_of_every_size(tmp_path: Path) -> None:
    checkpoint = {"scalar": torch.tensor(3), "empty": torch.empty(0, 2), "view": torch.arange(6.0).reshape(2, 3).t()}
    DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "c")
    targets = {name: torch.zeros(value.t().shape).t() for name, value in checkpoint.items()}
    loaded = DistributedCheckpointIO().load_placed(tmp_path / "c", lambda place, _: targets[str(place[0])])
    for name, value in checkpoint.items():
        assert torch.equal(loaded[name], value.float()), name


def test_a_placed_load_reads_files_whole(tmp_path: Path) -> None:
    save_torch_file({"weight": torch.ones(2)}, tmp_path / "file.ckpt")
    loaded = DistributedCheckpointIO().load_placed(tmp_path / "file.ckpt", ask_for_nothing)
    assert torch.equal(loaded["weight"], torch.ones(2))


_MEASURE = """
import json, sys, torch
import lt_checkpoint_io.placed_reading
from lt_checkpoint_io import DistributedCheckpointIO
from pathlib import Path

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

DistributedCheckpointIO().load_placed(sys.argv[1], lambda place, empty: None)  # a small one first: libraries and caches
targets = {f"layer{index}": torch.zeros(2**22) for index in range(20)}
for target in targets.values():
    target.fill_(-1.0)  # memory is taken when it's written to
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
DistributedCheckpointIO().load_placed(sys.argv[2], lambda place, empty: targets[place[-1]])
assert all((target == float(name[5:])).all() for name, target in targets.items())
print(json.dumps(status("VmHWM") - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_placed_load_takes_memory_for_one_stored_part_beside_its_targets(tmp_path: Path) -> None:
    part = 4 * 2**22
    big = {"state_dict": {f"layer{index}": torch.full((2**22,), float(index)) for index in range(20)}}
    DistributedCheckpointIO().save_checkpoint({"state_dict": {"x": torch.ones(2)}}, tmp_path / "small")
    DistributedCheckpointIO().save_checkpoint(big, tmp_path / "big")
    arguments = [str(tmp_path / "small"), str(tmp_path / "big")]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 1.5 * part


# --- bad folders ---


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    DistributedCheckpointIO().save_checkpoint({"weight": torch.ones(300), "epoch": 1}, tmp_path / "c")
    return tmp_path / "c"


@pytest.mark.parametrize("name", [MANIFEST_NAME, "meta.pt", ".metadata", "__0_0.distcp"])
def test_a_folder_with_a_missing_file_is_torn(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert not DistributedCheckpointIO().is_whole(saved)
    with pytest.raises(pickle.UnpicklingError, match=f"`{saved}` is no whole checkpoint"):
        DistributedCheckpointIO().load_checkpoint(saved)


@pytest.mark.parametrize("rest", [{"epoch": 1, "global_step": 2}, {"callbacks": Path("a")}, ["text"]])
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_sharded_folder_of_lightning_is_refused_with_the_way_out(tmp_path: Path, rest: Any) -> None:
    folder = tmp_path / "lightning.ckpt"
    weights = {"model": {"weight": torch.ones(2)}, "optimizer_0": {"state": {}, "param_groups": [{"lr": 0.1}]}}
    torch.distributed.checkpoint.save(weights, checkpoint_id=folder, no_dist=True)
    torch.save(rest, folder / "meta.pt")
    for load in (DistributedCheckpointIO().load_checkpoint, TorchCheckpointIO().load_checkpoint, inspect_checkpoint):
        with pytest.raises(pickle.UnpicklingError, match=f"consolidate_checkpoint {folder}`"):
            load(folder)
    with pytest.raises(pickle.UnpicklingError, match="consolidate_checkpoint"):
        DistributedCheckpointIO().load_placed(folder, ask_for_nothing)
    assert not DistributedCheckpointIO().is_whole(folder)


def test_another_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for load in (DistributedCheckpointIO().load_checkpoint, TorchCheckpointIO().load_checkpoint):
        with pytest.raises(IsADirectoryError, match=r"run` is a folder, but not that of"):
            load(tmp_path / "run")
    with pytest.raises(IsADirectoryError, match=r"run` is a folder, but not that of"):
        DistributedCheckpointIO().load_placed(tmp_path / "run", ask_for_nothing)
    with commit_folder(tmp_path / "other") as folder:
        (folder / "file").write_text("text")
    with pytest.raises(pickle.UnpicklingError, match=r"meta\.pt"):
        DistributedCheckpointIO().load_checkpoint(tmp_path / "other")


@pytest.mark.parametrize("name", ["meta.pt", ".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("weights_only", [None, True])
def test_hostile_files_in_a_folder_run_nothing(tmp_path: Path, name: str, weights_only: bool | None) -> None:
    path, trace = tmp_path / "hostile", tmp_path / "was_here"
    DistributedCheckpointIO().save_checkpoint({"weight": torch.ones(3)}, tmp_path / "good")
    with commit_folder(path) as folder:
        for file in (tmp_path / "good").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / MANIFEST_NAME).unlink()
        if name == ".metadata":
            (folder / name).write_bytes(pickle.dumps(Touch(trace)))
        else:
            torch.save({"checkpoint": Touch(trace)}, folder / name)
        if name == "__0_0.distcp":
            index = pickle.loads((folder / ".metadata").read_bytes())
            for stored in index.storage_data.values():
                stored.length = (folder / name).stat().st_size
            (folder / ".metadata").write_bytes(pickle.dumps(index))
    assert is_whole(path)
    for load in (
        lambda: DistributedCheckpointIO().load_checkpoint(path, weights_only=weights_only),
        lambda: DistributedCheckpointIO().load_into(path, {"weight": torch.ones(3)}, weights_only=weights_only),
    ):
        with pytest.raises((pickle.UnpicklingError, OSError), match="hostile"):
            load()
    assert not trace.exists()


@pytest.mark.parametrize("target", ["../good/__0_0.distcp", "/etc/hostname", "gone.distcp"])
def test_an_index_reaches_no_file_outside_its_folder(tmp_path: Path, saved: Path, target: str) -> None:
    data = (saved / ".metadata").read_bytes()
    index = pickle.loads(data)
    for stored in index.storage_data.values():
        stored.relative_path = target
    (saved / ".metadata").write_bytes(pickle.dumps(index))
    (saved / MANIFEST_NAME).write_text('{"version": 1, "files": {}}')
    with pytest.raises(pickle.UnpicklingError, match="isn't in the folder"):
        DistributedCheckpointIO().load_checkpoint(saved)


def test_saving_and_loading_files_doesnt_import_what_shards_need() -> None:
    code = "import sys, lt_checkpoint_io; sys.exit('torch.distributed.checkpoint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
