"""When a checkpoint is written, and what happens if that fails later."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Journal, ManualNet, Net, Saver, fit, rows, trainer_with
from torch import Tensor

from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import Callback, CheckpointIO
from lt_interfaces.checkpoint_io import CheckpointTraits, StoredCheckpoint
from lt_interfaces.strategy import Capability


class WholeWindows(SingleDeviceStrategy):
    """Can't save while a window is open, as several processes can't."""

    def supports(self, part: Any) -> bool:
        return part is not Capability.SAVING_IN_WINDOW and super().supports(part)


def batches_in(path: Path) -> tuple[int, int]:
    """Return the batches and optimizer steps before this checkpoint was taken."""
    saved = torch.load(path, weights_only=True)
    return saved["lt"]["progress"]["batches"], saved["global_step"]


# --- within a window ---


def test_save_within_a_window_is_written_at_once(tmp_path: Path) -> None:
    fit(tmp_path, Net(), Saver(tmp_path / "x.ckpt", "on_train_batch_end", 1), accumulate_grad_batches=2)
    assert batches_in(tmp_path / "x.ckpt") == (1, 0)


@pytest.mark.parametrize(("nth", "expected"), [(1, (2, 1)), (2, (2, 1)), (3, (4, 2)), (5, (5, 3))])
def test_save_within_a_window_waits_for_its_end_where_the_strategy_cannot(
    nth: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    saver = Saver(tmp_path / "x.ckpt", "on_train_batch_end", nth)
    fit(tmp_path, Net(), saver, data=rows(5), accumulate_grad_batches=2, strategy=WholeWindows("cpu"))
    assert batches_in(tmp_path / "x.ckpt") == expected


@pytest.mark.parametrize("strategy", [SingleDeviceStrategy, WholeWindows])
def test_run_goes_on_exactly_from_a_save_asked_for_within_a_window(strategy: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"accumulate_grad_batches": 3, "max_epochs": 2}
    saver = Saver(tmp_path / "x.ckpt", "on_train_batch_end", 7)
    whole, rest = Net(), Net()
    fit(tmp_path, whole, saver, data=rows(5), strategy=strategy("cpu"), **options)
    fit(tmp_path, rest, data=rows(5), strategy=strategy("cpu"), ckpt_path=tmp_path / "x.ckpt", **options)
    assert torch.equal(whole.weights, rest.weights)


def test_requested_save_is_written_at_the_next_boundary_of_a_batch(tmp_path: Path) -> None:
    class AsksOnce(Callback):
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
            if not (tmp_path / "x.ckpt").exists():
                trainer.request_save(tmp_path / "x.ckpt")

    fit(tmp_path, Net(), AsksOnce())
    assert batches_in(tmp_path / "x.ckpt") == (1, 1)


def gradients_in(path: Path) -> set[str]:
    return set(torch.load(path, weights_only=True)["lt"]["window"]["gradients"])


def test_no_gradients_are_kept_between_windows(tmp_path: Path) -> None:
    fit(tmp_path, Net(), Saver(tmp_path / "x.ckpt", "on_train_batch_end", 2), accumulate_grad_batches=2)
    assert gradients_in(tmp_path / "x.ckpt") == set()


def test_gradients_that_are_there_are_kept_in_manual_optimization(tmp_path: Path) -> None:
    fit(tmp_path, ManualNet(), Saver(tmp_path / "x.ckpt", "on_train_batch_end", 2))
    assert gradients_in(tmp_path / "x.ckpt") == {"layer.weight", "layer.bias"}


# --- an IO that writes in the background ---


class Doomed(CheckpointIO):
    """Takes a checkpoint, and finds out a few polls later that it couldn't be written."""

    traits = CheckpointTraits(asynchronous=True)

    def __init__(self, fails_at_poll: int | None) -> None:
        self.fails_at_poll = fails_at_poll
        self.polls = 0
        self.saved: list[str] = []

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        self.saved.append(str(path))

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        raise FileNotFoundError(path)

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        """Keep what isn't there."""

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        return []

    def is_whole(self, path: str | PathLike[str]) -> bool:
        return False

    def poll(self) -> None:
        self.polls += 1
        if self.polls == self.fails_at_poll:
            message = "the disk is gone"
            raise OSError(message)

    def teardown(self) -> None:
        """Have nothing to finish."""


def test_failure_in_the_background_is_raised_at_the_next_step_boundary(tmp_path: Path) -> None:
    trainer = trainer_with(
        tmp_path, Saver(tmp_path / "x.ckpt", "on_train_batch_end", 2), plugins=[Doomed(1)], limit_val_batches=0
    )
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(Net(), rows(4))
    assert trainer.global_step == 2


def test_failure_that_comes_later_is_raised_when_it_comes(tmp_path: Path) -> None:
    trainer = trainer_with(
        tmp_path, Saver(tmp_path / "x.ckpt", "on_train_batch_end", 1), plugins=[Doomed(3)], limit_val_batches=0
    )
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(Net(), rows(4))
    assert trainer.global_step == 3


def test_nobody_is_asked_before_something_was_saved(tmp_path: Path) -> None:
    io = Doomed(None)
    fit(tmp_path, Net(), plugins=[io])
    assert io.polls == 0


def test_loggers_write_what_came_before_a_checkpoint(tmp_path: Path) -> None:
    written: list[int] = []

    class Writes(Journal):
        def save(self) -> None:
            written.append(len(self.sent))

    class Logs(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss)
            return loss

    io = Doomed(None)
    saver = Saver(tmp_path / "x.ckpt", "on_train_batch_end", 3)
    fit(tmp_path, Logs(), saver, logger=Writes(), plugins=[io])
    assert len(io.saved) == 1
    assert 2 in written, "the values of two batches, while the third was under way"
