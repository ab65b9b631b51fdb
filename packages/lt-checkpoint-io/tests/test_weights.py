import json
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sample_checkpoints import assert_equal, trained

from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.weights import export_safetensors, import_safetensors
from lt_interfaces.commit import is_whole


def saved(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    torch.save({"state_dict": weights, "global_step": 7, "epoch": 1}, folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_come_back_from_files_and_folders(tmp_path: Path, sharded: bool) -> None:
    checkpoint = trained()
    if sharded:
        DistributedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "last.ckpt")
    else:
        torch.save(checkpoint, tmp_path / "last.ckpt")
    path = export_safetensors(tmp_path / "last.ckpt", tmp_path / "model.safetensors")
    expected = dict(checkpoint["state_dict"])
    for weights in (import_safetensors(path), load_file(path)):
        assert_equal({name: weights[name] for name in expected}, expected)


def test_other_tools_see_format_and_step(tmp_path: Path) -> None:
    path = export_safetensors(saved(tmp_path, {"weight": torch.ones(2)}), tmp_path / "model.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata.items() >= {"format": "pt", "global_step": "7", "epoch": "1"}.items()


def test_odd_tensors_survive(tmp_path: Path) -> None:
    weights = {
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "slice": torch.arange(100)[10:20:3],
        "expanded": torch.ones(2).expand(3, 2),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(True),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "float8": torch.ones(3).to(torch.float8_e5m2),
        "complex": torch.ones(1, dtype=torch.complex64) * 1j,
        "ünïcode": torch.ones(1, dtype=torch.uint8),
    }
    loaded = import_safetensors(export_safetensors(saved(tmp_path, weights), tmp_path / "w"))
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].to(torch.complex64), tensor.to(torch.complex64)), name


def test_tied_weights_are_written_once_and_tied_again(tmp_path: Path) -> None:
    shared = torch.ones(100, 100)
    source = saved(tmp_path, {"in": shared, "out": shared, "row": shared[0]})
    path = export_safetensors(source, tmp_path / "model.safetensors")
    assert path.stat().st_size < 1.1 * shared.nbytes
    loaded = import_safetensors(path)
    assert loaded["in"].data_ptr() == loaded["out"].data_ptr()
    assert torch.equal(loaded["row"], shared[0])


def test_a_prefix_selects_and_goes(tmp_path: Path) -> None:
    source = saved(tmp_path, {"model.weight": torch.ones(2), "loss.weight": torch.ones(1)})
    assert import_safetensors(export_safetensors(source, tmp_path / "w", prefix="model.")).keys() == {"weight"}
    with pytest.raises(ValueError, match=r"`prefix` 'net\.'.*model\.weight"):
        export_safetensors(source, tmp_path / "w", prefix="net.")


def test_large_models_are_cut_into_files_with_an_index(tmp_path: Path) -> None:
    shared = torch.arange(10.0)
    weights = {"a": shared, "b": torch.ones(20), "c": torch.ones(10), "tied": shared, "huge": torch.ones(100)}
    folder = export_safetensors(saved(tmp_path, weights), tmp_path / "model", max_shard_bytes=120)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * 140
    assert index["weight_map"]["a"] == index["weight_map"]["tied"] == "model-00001-of-00003.safetensors"
    assert is_whole(folder, hashes=True)
    loaded = import_safetensors(folder)
    assert_equal({name: loaded[name] for name in weights}, weights)


def test_a_failing_export_leaves_what_was_there(tmp_path: Path) -> None:
    path = export_safetensors(saved(tmp_path, {"weight": torch.ones(2)}), tmp_path / "w")
    bad = saved(tmp_path, {"weight": torch.ones(2, dtype=torch.complex128)})
    with pytest.raises(ValueError, match=r"`weight`.*complex128"):
        export_safetensors(bad, path)
    assert torch.equal(import_safetensors(path)["weight"], torch.ones(2))


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt` has no `state_dict`; it has \['epoch'\]"):
        export_safetensors(tmp_path / "last.ckpt", tmp_path / "w")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        import_safetensors(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"index\.json"):
        import_safetensors(tmp_path)
    path = export_safetensors(saved(tmp_path, {"weight": torch.ones(200)}), tmp_path / "w")
    data = path.read_bytes()
    for cut in (0, 5, 20, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(UnpicklingError, match=f"{path}` is damaged"):
            import_safetensors(path)
