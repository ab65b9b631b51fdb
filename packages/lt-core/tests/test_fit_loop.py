from typing import Any

import pytest
import torch
from tiny_runs import Net
from torch import Tensor
from torch.utils.data import DataLoader

from lt_core import Callback, Trainer
from lt_core.fit_loop import EpochLoop, PredictLoop
from lt_interfaces.progress import FitProgress

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


class Reading(Callback):
    """Reads what code written for Lightning reads from the loops, in each batch."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self._read(trainer)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._read(trainer)

    def _read(self, trainer: Any) -> None:
        fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
        batches = loop.batch_progress
        self.rows.append(
            (
                fit.batch_idx,
                fit.total_batch_idx,
                loop.global_step,
                loop._batches_that_stepped,
                batches.current.ready,
                batches.current.processed,
                batches.current.completed,
                batches.total.ready,
                int(batches.is_last_batch),
                fit.epoch_progress.current.ready,
                fit.epoch_progress.current.completed,
            )
        )


def test_counters_in_the_hooks_are_those_of_lightnings_loops() -> None:
    reading = Reading()
    trainer = Trainer(max_epochs=2, limit_train_batches=2, limit_val_batches=0, callbacks=[reading], **QUIET)
    trainer.fit(Net(), DataLoader(torch.randn(4, 3), batch_size=2), DataLoader(torch.randn(2, 3)))
    # Seen in Lightning 2.6: batch start and end of two epochs of two batches.
    assert reading.rows == [
        (0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0),
        (0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0),
        (1, 1, 1, 1, 2, 1, 1, 2, 1, 1, 0),
        (1, 1, 2, 1, 2, 2, 1, 2, 1, 1, 0),
        (0, 2, 2, 2, 1, 0, 0, 3, 0, 2, 1),
        (0, 2, 3, 2, 1, 1, 0, 3, 0, 2, 1),
        (1, 3, 3, 3, 2, 1, 1, 4, 1, 2, 1),
        (1, 3, 4, 3, 2, 2, 1, 4, 1, 2, 1),
    ]
    assert trainer.fit_loop.epoch_progress.current.completed == 2


def test_views_are_for_reading_alone() -> None:
    with pytest.raises(AttributeError):
        EpochLoop(FitProgress()).batch_idx = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Trainer(**QUIET).fit_loop.batch_idx = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"`completed` shows where the run stands .* ckpt_path"):
        Trainer(**QUIET).fit_loop.epoch_progress.current.completed = 3


class Writing(Callback):
    """Writes predictions, as far as the loop knows such callbacks."""

    needs_all_predictions = True

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def take_batch_indices(self, batch_indices: list[int], dataloader_idx: int) -> None: ...

    def take_predictions(self, predictions: Any) -> None: ...

    def on_predict_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seen.append(trainer.predict_loop.current_batch_indices)


def test_samples_predicted_from_are_shown_where_somebody_writes_predictions() -> None:
    class Identity(Net):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return batch

    writing = Writing()
    trainer = Trainer(callbacks=[writing], **QUIET)
    trainer.predict(Identity(), DataLoader(torch.randn(5, 3), batch_size=2))
    assert writing.seen == [[0, 1], [2, 3], [4]]
    assert trainer.predict_loop.epoch_batch_indices == [[[0, 1], [2, 3], [4]]]
    assert PredictLoop([]).current_batch_indices == []
    assert Trainer(**QUIET).predict_loop.epoch_batch_indices == []
