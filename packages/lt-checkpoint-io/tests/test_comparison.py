from pathlib import Path
from typing import Any

import pytest
import torch
from sample_checkpoints import trained

from lt_checkpoint_io.comparison import CheckpointDifference, diff_checkpoints
from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO


def difference(folder: Path, one: dict[str, Any], other: dict[str, Any], values: bool = False) -> CheckpointDifference:
    torch.save(one, folder / "a.ckpt")
    torch.save(other, folder / "b.ckpt")
    return diff_checkpoints(folder / "a.ckpt", folder / "b.ckpt", values=values)


def test_a_checkpoint_doesnt_differ_from_itself_as_a_folder(tmp_path: Path) -> None:
    torch.save(trained(), tmp_path / "a.ckpt")
    DistributedCheckpointIO().save_checkpoint(trained(), tmp_path / "b.ckpt")
    found = diff_checkpoints(tmp_path / "a.ckpt", tmp_path / "b.ckpt", values=True)
    assert found.is_empty, found
    assert "no difference" in str(found)


def test_each_kind_of_difference_has_its_place(tmp_path: Path) -> None:
    one, other = trained(4), trained(5) | {"epoch": 3, "new": 1}
    other["callbacks"]["EarlyStopping"]["wait"] = 5
    del other["lr_schedulers"]
    one["callbacks"]["Gone"] = {"best": None}
    found = difference(tmp_path, one, other)
    assert [str(change) for change in found.configuration] == ["hyper_parameters.width: 4 -> 5"]
    assert [str(change) for change in found.counters] == ["epoch: 2 -> 3"]
    assert [str(change) for change in found.others] == ["callbacks.EarlyStopping.wait: 2 -> 5"]
    assert found.only_in_first == ["callbacks.Gone.best"]
    assert found.only_in_second == ["new"]
    assert str(found.tensors[0]) == "state_dict.0.weight: float32[4, 3] -> float32[5, 3]"
    text = str(found)
    assert text.index("configuration (1)") < text.index("counters (1)") < text.index("tensors (")


def test_values_are_compared_when_asked(tmp_path: Path) -> None:
    one = {"state_dict": {"weight": torch.zeros(3), "bias": torch.ones(1)}}
    other = {"state_dict": {"weight": torch.tensor([0.0, 0.25, -0.5]), "bias": torch.ones(1)}}
    assert difference(tmp_path, one, other).is_empty
    (change,) = difference(tmp_path, one, other, values=True).tensors
    assert (change.name, change.max_difference) == ("state_dict.weight", 0.5)
    assert "differ by up to 0.5" in str(change)


@pytest.mark.parametrize(
    ("one", "other", "largest"),
    [
        (torch.tensor([float("nan"), float("inf")]), torch.tensor([float("nan"), float("inf")]), None),
        (torch.tensor([float("nan")]), torch.tensor([1.0]), float("inf")),
        (torch.tensor([2**60]), torch.tensor([2**60 + 1]), 1.0),
        (torch.tensor([True]), torch.tensor([False]), 1.0),
        (torch.tensor([1j]), torch.tensor([2j]), 1.0),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16), None),
        (torch.empty(0), torch.empty(0), None),
    ],
)
def test_every_kind_of_value_is_compared(
    tmp_path: Path, one: torch.Tensor, other: torch.Tensor, largest: float | None
) -> None:
    changes = difference(tmp_path, {"x": one}, {"x": other}, values=True).tensors
    assert [change.max_difference for change in changes] == ([] if largest is None else [largest])


def test_a_tensor_that_became_a_number_is_a_difference(tmp_path: Path) -> None:
    (change,) = difference(tmp_path, {"x": torch.ones(1)}, {"x": 1.0}).others
    assert str(change) == "x: float32[1] -> 1.0"


def test_bad_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        diff_checkpoints(tmp_path / "nothing", tmp_path / "nothing")
