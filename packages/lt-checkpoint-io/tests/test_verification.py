import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sample_checkpoints import trained

from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.verification import verify_checkpoint
from lt_checkpoint_io.weights import export_safetensors
from lt_interfaces.commit import MANIFEST_NAME
from lt_interfaces.testing.checkpoint_io import Touch


@pytest.fixture(params=["torch file", "sharded folder", "safetensors file"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    small = {"state_dict": {"weight": torch.arange(40.0), "bias": torch.ones(3, dtype=torch.int8)}, "epoch": 2}
    if request.param == "sharded folder":
        DistributedCheckpointIO().save_checkpoint(small, path)
        return path
    torch.save(small, path)
    return path if request.param == "torch file" else export_safetensors(path, tmp_path / "model.safetensors")


def files_of(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.iterdir()) if checkpoint.is_dir() else [checkpoint]


def test_a_good_checkpoint_has_no_problems(checkpoint: Path) -> None:
    report = verify_checkpoint(checkpoint)
    assert report.is_good, report
    assert report.notes == []
    assert f"{checkpoint}: good" in str(report)


def test_a_trained_checkpoint_has_no_problems(tmp_path: Path) -> None:
    torch.save(trained(), tmp_path / "last.ckpt")
    assert verify_checkpoint(tmp_path / "last.ckpt").problems == []


def test_every_flipped_bit_is_found(checkpoint: Path) -> None:
    for file in files_of(checkpoint):
        data = bytearray(file.read_bytes())
        # shards are hashed whole: a sample of their bytes will do; a zip file and headers have many special places
        for position in range(0, len(data), 1 if file == checkpoint or file.name == MANIFEST_NAME else 41):
            bit = 1 << (position % 8)
            data[position] ^= bit
            file.write_bytes(data)
            report = verify_checkpoint(checkpoint)
            data[position] ^= bit
            assert not report.is_good, f"byte {position} of {file.name}: {bytes(data[position - 8 : position + 8])!r}"
        file.write_bytes(data)


def test_every_cut_is_found(checkpoint: Path) -> None:
    for file in files_of(checkpoint):
        data = file.read_bytes()
        for length in {*range(0, len(data), 97), len(data) - 1}:
            file.write_bytes(data[:length])
            assert not verify_checkpoint(checkpoint).is_good, f"{length} bytes of {file.name}"
        file.write_bytes(data + b"\0")
        assert not verify_checkpoint(checkpoint).is_good, f"a byte more in {file.name}"
        file.write_bytes(data)


def test_progress_ends_at_the_total(checkpoint: Path) -> None:
    told: list[tuple[int, int]] = []
    verify_checkpoint(checkpoint, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert 0 < told[-1][1] - 200 < told[-1][0] <= told[-1][1]


def test_problems_of_a_folder_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c"
    DistributedCheckpointIO().save_checkpoint(trained(), path)
    (path / "extra").touch()
    (path / "meta.pt").unlink()
    with (path / "__0_0.distcp").open("r+b") as file:
        file.write(b"x")
    report = verify_checkpoint(path)
    assert [name for name in ("extra", "meta.pt", "__0_0.distcp") if any(name in text for text in report.problems)] == [
        "extra",
        "meta.pt",
        "__0_0.distcp",
    ]
    assert "3 problems" in str(report)


def test_a_problem_of_a_torch_file_names_the_record(tmp_path: Path) -> None:
    torch.save({"weight": torch.full((100,), 7.0)}, tmp_path / "c.ckpt")
    data = (tmp_path / "c.ckpt").read_bytes()
    place = data.index(torch.tensor([7.0, 7.0]).numpy().tobytes())
    (tmp_path / "c.ckpt").write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    (problem,) = verify_checkpoint(tmp_path / "c.ckpt").problems
    assert problem == "record `c/data/0`: its values have changed (CRC)"


def test_code_in_a_checkpoint_is_a_problem_and_isnt_run(tmp_path: Path) -> None:
    torch.save({"hook": Touch(tmp_path / "was_here")}, tmp_path / "hostile.ckpt")
    report = verify_checkpoint(tmp_path / "hostile.ckpt")
    assert "run code" in report.problems[0]
    assert not (tmp_path / "was_here").exists()


def test_what_isnt_a_checkpoint_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("just some text")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for name in ("text", "empty", "folder"):
        assert not verify_checkpoint(tmp_path / name).is_good, name
    with pytest.raises(FileNotFoundError, match="nothing"):
        verify_checkpoint(tmp_path / "nothing")


def test_an_unknown_manifest_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text(json.dumps({"version": 2, "files": {}}))
    assert "version 2" in verify_checkpoint(tmp_path).problems[0]


def test_files_without_checksums_say_so(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    report = verify_checkpoint(tmp_path / "foreign.safetensors")
    assert report.is_good
    assert "no hash" in str(report)
    torch.save({"epoch": 1}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert "no checksums" in str(verify_checkpoint(tmp_path / "old.ckpt"))
