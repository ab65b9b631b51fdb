"""A spike ends the loop on all ranks, and the list of bad batches is written as Lightning writes it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_fabric import Fabric
from lt_fabric.spike_detection import SpikeDetection
from lt_interfaces.loss_spikes import TrainingSpikeException


class Ranks:
    """Stands in for Fabric on a rank whose neighbour says what it's told."""

    def __init__(self, *, is_global_zero: bool = True, neighbour: float = 0.0) -> None:
        self.is_global_zero = is_global_zero
        self.neighbour = neighbour

    def all_reduce(self, data: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        assert reduce_op == "max"
        return torch.maximum(data, torch.tensor(self.neighbour))


def trained(detection: SpikeDetection, ranks: Any, last: float = 100.0) -> None:
    for batch_idx, loss in enumerate((1.0, 1.0, 1.0, last)):
        detection.on_train_batch_end(ranks, torch.tensor(loss), None, batch_idx)


def test_a_spike_raises_and_is_written_down(tmp_path: Path) -> None:
    detection = SpikeDetection(exclude_batches_path=tmp_path / "new" / "skip.json")
    trained(detection, Ranks(), last=1.0)
    with pytest.raises(TrainingSpikeException, match="batch 3"):
        trained(detection, Ranks())
    assert detection.bad_batches == [2, 3]
    with pytest.raises(TrainingSpikeException):
        detection.on_train_batch_end(Ranks(), torch.tensor(float("nan")), None, 5)
    assert json.loads((tmp_path / "new" / "skip.json").read_text()) == [2, 3, 4, 5]


def test_without_a_file_the_list_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SpikeDetection().exclude_batches_path == tmp_path / "skip_batches.json"
    assert SpikeDetection(exclude_batches_path=tmp_path / "runs").exclude_batches_path == (
        tmp_path / "runs" / "skip_batches.json"
    )


def test_a_spike_on_another_rank_ends_this_one_and_only_rank_0_writes(tmp_path: Path) -> None:
    detection = SpikeDetection(exclude_batches_path=tmp_path)
    with pytest.raises(TrainingSpikeException, match="batch 0"):
        trained(detection, Ranks(is_global_zero=False, neighbour=1.0))
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_after_what_was_saved(tmp_path: Path) -> None:
    before, after = SpikeDetection(exclude_batches_path=tmp_path), SpikeDetection(exclude_batches_path=tmp_path)
    trained(before, Ranks(), last=1.0)
    before.bad_batches = [7]
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after.bad_batches == [7]
    with pytest.raises(TrainingSpikeException):
        after.on_train_batch_end(Ranks(), torch.tensor(3.1), None, 4)


def test_a_spike_in_the_first_batch_names_no_batch_before_it(tmp_path: Path) -> None:
    detection = SpikeDetection(exclude_batches_path=tmp_path, warmup=0)
    with pytest.raises(TrainingSpikeException):
        detection.on_train_batch_end(Ranks(), torch.tensor(float("nan")), None, 0)
    assert detection.bad_batches == [0]


def test_a_state_of_lightnings_brings_its_bad_batches() -> None:
    detection = SpikeDetection()
    detection.load_state_dict({"last_val": 0.5, "bad_batches": [7, 8]})
    assert detection.bad_batches == [7, 8]


def test_fabric_calls_it(tmp_path: Path) -> None:
    detection = SpikeDetection(exclude_batches_path=tmp_path)
    fabric = Fabric(accelerator="cpu", devices=1, callbacks=[detection])
    fabric.launch()
    loss = torch.tensor(1.0, requires_grad=True) * 1
    fabric.call("on_train_batch_end", fabric=fabric, loss=loss, batch=None, batch_idx=0)
    with pytest.raises(TrainingSpikeException):
        fabric.call("on_train_batch_end", fabric=fabric, loss=loss * 9, batch=None, batch_idx=1)
