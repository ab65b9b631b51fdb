from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lt_callbacks import BasePredictionWriter, WriteInterval
from lt_interfaces.errors import MisconfigurationException

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Written(BasePredictionWriter):
    """Remembers what it was given to write."""

    def __init__(self, write_interval: str = "batch") -> None:
        super().__init__(write_interval)
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def write_on_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
        self.batches.append(given)

    def write_on_epoch_end(
        self, trainer: Any, pl_module: Any, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        self.epochs.append((predictions, batch_indices))


def predict(run: Any, writer: BasePredictionWriter, indices: list[list[list[int]]]) -> None:
    """Do what the loop does: each batch of each loader predicts ``p<loader><batch>``."""
    run.tell("on_predict_start")
    outputs: list[list[str]] = [[] for _ in indices]
    for loader_idx, batches in enumerate(indices):
        for batch_idx, of_batch in enumerate(batches):
            writer.take_batch_indices(of_batch, loader_idx)
            prediction = f"p{loader_idx}{batch_idx}"
            run.tell(
                "on_predict_batch_end", prediction, "batch", batch_idx, *([loader_idx] if len(indices) > 1 else [])
            )
            outputs[loader_idx].append(prediction)
    if writer.needs_all_predictions:
        writer.take_predictions(outputs)
    run.tell("on_predict_epoch_end")


def written(new_run: NewRun, interval: str, indices: list[list[list[int]]]) -> Written:
    writer = Written(interval)
    predict(new_run(writer), writer, indices)
    return writer


def test_batches_are_written_with_the_indices_of_their_samples(new_run: NewRun) -> None:
    writer = written(new_run, "batch", [[[4, 1], [0]]])
    assert writer.batches == [("p00", [4, 1], "batch", 0, 0), ("p01", [0], "batch", 1, 0)]
    assert writer.epochs == []


def test_an_epoch_of_one_loader_gives_its_outputs_and_nested_indices(new_run: NewRun) -> None:
    writer = written(new_run, "epoch", [[[4, 1], [0]]])
    assert writer.epochs == [(["p00", "p01"], [[[4, 1], [0]]])]
    assert writer.batches == []


def test_an_epoch_of_several_loaders_gives_a_list_for_each(new_run: NewRun) -> None:
    writer = written(new_run, "batch_and_epoch", [[[0]], [[1], [0]]])
    assert [batch[-1] for batch in writer.batches] == [0, 1, 1]
    assert writer.epochs == [([["p00"], ["p10", "p11"]], [[[0]], [[1], [0]]])]


def test_unknown_indices_are_an_empty_list_for_their_loader(new_run: NewRun) -> None:
    assert written(new_run, "epoch", [[[0]], [[], []]]).epochs[0][1] == [[[0]], []]
    assert written(new_run, "epoch", [[[0]], []]).epochs[0][1] == [[[0]], []]
    assert written(new_run, "batch", [[[]]]).batches[0][1] == []


def test_nothing_is_left_of_an_earlier_pass(new_run: NewRun) -> None:
    writer = Written("epoch")
    run = new_run(writer)
    writer.take_batch_indices([7], 0)  # a pass that failed
    for _ in range(2):
        predict(run, writer, [[[0]]])
    assert writer.epochs == [(["p00"], [[[0]]])] * 2


def test_writing_batches_keeps_nothing() -> None:
    writer = Written("batch")
    assert not writer.needs_all_predictions
    for index in range(3):
        writer.take_batch_indices([index], 0)
    assert writer._all_indices == []


@pytest.mark.parametrize(
    ("interval", "on_batch", "on_epoch"),
    [("batch", True, False), ("epoch", False, True), ("batch_and_epoch", True, True)],
)
def test_intervals_say_when_they_write(interval: str, on_batch: bool, on_epoch: bool) -> None:
    given = BasePredictionWriter(interval).interval
    assert given is WriteInterval(interval)
    assert (given.on_batch, given.on_epoch) == (on_batch, on_epoch)


def test_another_interval_is_refused_by_name() -> None:
    with pytest.raises(MisconfigurationException, match=r"`write_interval` must be one of .*Did you mean `epoch`"):
        BasePredictionWriter("epochs")
