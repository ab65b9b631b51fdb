import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_callbacks import SpikeDetection
from lt_interfaces.loss_spikes import TrainingSpikeException

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def train(run: Any, *losses: float, begin: int = 0) -> None:
    for batch_idx, loss in enumerate(losses, start=begin):
        run.tell("on_train_batch_end", {"loss": torch.tensor(loss)}, None, batch_idx)


def started(run: Any) -> Any:
    run.begin()
    return run


def test_a_spike_raises_and_is_written_down(new_run: NewRun, tmp_path: Path) -> None:
    detection = SpikeDetection(exclude_batches_path=tmp_path / "new" / "skip.json")
    run = started(new_run(detection))
    train(run, 1.0, 1.0, 2.9, 1.0)
    assert not (tmp_path / "new").exists()
    with pytest.raises(TrainingSpikeException, match="batch 4"):
        train(run, 100.0, begin=4)
    with pytest.raises(TrainingSpikeException):
        train(run, float("nan"), begin=7)
    assert detection.bad_batches == json.loads((tmp_path / "new" / "skip.json").read_text()) == [3, 4, 6, 7]


def test_there_is_no_batch_before_the_first(new_run: NewRun) -> None:
    detection = SpikeDetection(warmup=0)
    with pytest.raises(TrainingSpikeException):
        train(started(new_run(detection)), float("inf"))
    assert detection.bad_batches == [0]


def test_without_a_path_the_list_lies_in_the_runs_root(new_run: NewRun, tmp_path: Path) -> None:
    detection = SpikeDetection()
    with pytest.raises(TrainingSpikeException):
        train(started(new_run(detection)), 1.0, float("nan"))
    assert json.loads((tmp_path / "skip_batches.json").read_text()) == [0, 1]


def test_the_list_is_replaced_whole_or_not_at_all(
    new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = SpikeDetection()
    run = started(new_run(detection))
    (tmp_path / "skip_batches.json").write_text("[7]")

    def fail(*names: Any) -> None:
        message = "the machine went down"
        raise OSError(message)

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="went down"):
        train(run, 1.0, float("nan"))
    assert (tmp_path / "skip_batches.json").read_text() == "[7]"


def test_a_spike_on_another_rank_ends_this_one_and_only_rank_0_writes(new_run: NewRun, tmp_path: Path) -> None:
    asked = []

    def agree(decision: bool, *, all_ranks: bool = True) -> bool:
        asked.append((decision, all_ranks))
        return len(asked) == 3

    run = started(new_run(SpikeDetection(), world_size=2, global_rank=1, agree=agree))
    with pytest.raises(TrainingSpikeException, match="batch 2"):
        train(run, 1.0, 1.0, 1.0)
    assert asked == [(False, False)] * 3
    assert list(tmp_path.iterdir()) == []


def test_no_rank_raises_before_rank_0_has_written(new_run: NewRun, tmp_path: Path) -> None:
    lists = []

    def wait(obj: Any, src: int = 0) -> Any:
        assert src == 0
        lists.append((tmp_path / "skip_batches.json").read_text())

    with pytest.raises(TrainingSpikeException):
        train(started(new_run(SpikeDetection(), broadcast=wait)), 1.0, float("nan"))
    assert lists == ["[0, 1]"]


def test_it_goes_on_after_what_was_saved(new_run: NewRun) -> None:
    before, after = SpikeDetection(), SpikeDetection()
    train(started(new_run(before)), 1.0, 1.0, 1.0)
    before.bad_batches = [7]
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after.state_dict() == before.state_dict()
    with pytest.raises(TrainingSpikeException):
        train(started(new_run(after)), 3.1, begin=3)
    assert after.bad_batches == [7, 2, 3]


def test_a_checkpoint_of_lightnings_brings_the_bad_batches(new_run: NewRun) -> None:
    detection = SpikeDetection()
    detection.load_state_dict({"last_val": 1.0, "mode": "min", "bad_batches": [3, 4], "running": {}, "mean": {}})
    assert detection.bad_batches == [3, 4]
    train(started(new_run(detection)), 9.0, begin=5)


def test_batches_without_a_loss_are_left_out_and_told_once(new_run: NewRun) -> None:
    run = started(new_run(SpikeDetection()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.tell("on_train_batch_end", None, None, 0)  # a batch that was left out
    with pytest.warns(UserWarning, match="`training_step` returned no loss") as told:
        run.tell("on_train_batch_end", {"loss": None}, None, 1)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.tell("on_train_batch_end", {"loss": None}, None, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "low"}, "`mode`"),
        ({"window": 0}, "`window`"),
        ({"exclude_batches_path": "s3://bucket/runs"}, "`exclude_batches_path` as a local path"),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SpikeDetection(**arguments)


def test_a_remote_root_needs_a_local_path(new_run: NewRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass `exclude_batches_path`"):
        new_run(SpikeDetection(), default_root_dir="s3://bucket").begin()
    new_run(SpikeDetection(exclude_batches_path=tmp_path), default_root_dir="s3://bucket").begin()
