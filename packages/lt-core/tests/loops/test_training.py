from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Batches, Heard, Journal, Keeper, Net, fit, rows, trainer_with
from torch import Tensor

from lt_interfaces.callback import Callback

AT_ONCE = timedelta(microseconds=1)


class Trace(Heard):
    """Notes where it was trained and validated: (epoch, batch index)."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[tuple[int, int]] = []
        self.validated: list[tuple[int, int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append((trainer.current_epoch, batch_idx))

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.validated.append(self.trained[-1])


class AtBatch(Callback):
    """Does something with the trainer at the end of one batch."""

    def __init__(self, batch_idx: int, action: Any) -> None:
        self.batch_idx = batch_idx
        self.action = action

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch_idx:
            self.action(trainer)


def ask_to_stop(trainer: Any) -> None:
    trainer.should_stop = True


def counters(trainer: Any) -> tuple[int, int]:
    return trainer.global_step, trainer.current_epoch


# --- stopping ---


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_epochs": 2}, (8, 2)),
        ({"max_epochs": 0}, (0, 0)),
        ({"max_steps": 0}, (0, 0)),
        ({"max_epochs": None, "max_steps": 6}, (6, 2)),
        ({"max_epochs": 1, "max_steps": 6}, (4, 1)),
        ({"max_epochs": 5, "max_steps": 3}, (3, 1)),
        ({"max_epochs": -1, "max_steps": 5}, (5, 2)),
        ({"max_epochs": 1, "min_steps": 7}, (4, 1)),
        ({"max_epochs": 1, "min_epochs": 1}, (4, 1)),
    ],
)
def test_training_stops_at_the_first_limit(limits: dict[str, Any], expected: tuple[int, int], tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), **limits)
    assert counters(trainer) == expected
    assert trainer.state.status == "finished"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, (2, 1)),
        ({"min_steps": 3}, (4, 1)),  # `min_steps` means at least one epoch, too
        ({"min_steps": 6}, (6, 2)),
        ({"min_epochs": 1}, (4, 1)),
        ({"min_epochs": 2}, (8, 2)),
        ({"min_epochs": 2, "max_steps": 5}, (5, 2)),
    ],
)
def test_stop_request_waits_for_the_minimum(limits: dict[str, Any], expected: tuple[int, int], tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), AtBatch(1, ask_to_stop), **{"max_epochs": 3, **limits})
    assert counters(trainer) == expected


def test_waiting_for_the_minimum_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, Net(), AtBatch(0, ask_to_stop), max_epochs=3, min_epochs=2)
    assert caplog.text.count("A stop was requested") == 1


def test_stop_can_be_taken_back(tmp_path: Path) -> None:
    def take_back(trainer: Any) -> None:
        assert trainer.should_stop
        trainer.should_stop = False

    trainer = fit(tmp_path, Net(), AtBatch(0, ask_to_stop), AtBatch(1, take_back), min_steps=3)
    assert counters(trainer) == (4, 1)
    assert not trainer.should_stop


def test_stop_requested_before_the_first_batch_trains_nothing(tmp_path: Path) -> None:
    class Early(Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = True

    assert counters(fit(tmp_path, Net(), Early())) == (0, 0)


def test_stop_requested_at_an_epochs_end_starts_no_other(tmp_path: Path) -> None:
    class AtEnd(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = True

    assert counters(fit(tmp_path, Net(), AtEnd(), max_epochs=5)) == (4, 1)


def test_stop_of_one_fit_is_forgotten_in_the_next(tmp_path: Path) -> None:
    stop = AtBatch(1, ask_to_stop)
    trainer = trainer_with(tmp_path, stop, limit_val_batches=0, max_epochs=3)
    trainer.fit(Net(), rows())
    stop.batch_idx = -1
    trainer.fit(Net(), rows())
    assert counters(trainer) == (10, 3)


def test_epoch_cut_short_still_ends(tmp_path: Path) -> None:
    heard = Heard()
    fit(tmp_path, Net(), heard, max_steps=3)
    assert heard.names[-4:] == ["on_train_epoch_end", "on_train_end", "on_fit_end", "teardown"]


def test_nothing_to_train_tells_of_the_fit_alone(tmp_path: Path) -> None:
    for limits in ({"limit_train_batches": 0}, {"max_epochs": 0}):
        heard = Heard()
        fit(tmp_path, Net(), heard, **limits)
        assert heard.names == ["setup", "on_fit_start", "on_fit_end", "teardown"]


def test_empty_data_trains_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="empty loader"):
        assert counters(fit(tmp_path, Net(), data=Batches([]))) == (0, 0)


# --- skipping the rest of an epoch ---


class SkipsFrom(Net):
    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 else None


def test_module_skips_the_rest_of_the_epoch(tmp_path: Path) -> None:
    heard = Heard()
    trainer = fit(tmp_path, SkipsFrom(), heard, max_epochs=2)
    assert counters(trainer) == (4, 2)
    assert heard.count("on_train_epoch_end") == 2
    assert heard.count("on_train_batch_end") == 4


def test_callback_cannot_skip(tmp_path: Path) -> None:
    class Tries(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> Any:
            return -1

    assert fit(tmp_path, Net(), Tries()).global_step == 4


# --- validation ---


@pytest.mark.parametrize(
    ("epochs", "arguments", "expected"),
    [
        (1, {}, [(0, 9)]),
        (1, {"val_check_interval": 0.25}, [(0, 1), (0, 3), (0, 5), (0, 7), (0, 9)]),
        (2, {"val_check_interval": 3}, [(0, 2), (0, 5), (0, 8), (1, 2), (1, 5), (1, 8)]),
        (
            2,
            {"val_check_interval": 3, "check_val_every_n_epoch": None},
            [(0, 2), (0, 5), (0, 8), (1, 1), (1, 4), (1, 7)],
        ),
        (3, {"val_check_interval": 15, "check_val_every_n_epoch": None}, [(1, 4), (2, 9)]),
        (4, {"check_val_every_n_epoch": 2}, [(1, 9), (3, 9)]),
        (2, {"val_check_interval": timedelta(hours=1)}, []),
        (1, {"val_check_interval": AT_ONCE, "limit_train_batches": 2}, [(0, 0), (0, 1)]),
        (
            3,
            {"val_check_interval": timedelta(microseconds=1), "check_val_every_n_epoch": 3, "limit_train_batches": 1},
            [(2, 0)],
        ),
        (2, {"limit_val_batches": 0}, []),
        (1, {"max_steps": 7}, []),
        (1, {"max_steps": 6, "val_check_interval": 3}, [(0, 2), (0, 5)]),
    ],
)
def test_validation_happens_where_the_table_says(
    epochs: int, arguments: dict[str, Any], expected: list[tuple[int, int]], tmp_path: Path
) -> None:
    trace = Trace()
    fit(tmp_path, Net(), trace, data=rows(10), val_dataloaders=rows(1), max_epochs=epochs, **arguments)
    assert trace.validated == expected


def test_interval_longer_than_an_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="val_check_interval"):
        fit(tmp_path, Net(), val_dataloaders=rows(1), val_check_interval=5)


def test_stop_in_mid_epoch_validates_at_once(tmp_path: Path) -> None:
    trace = Trace()
    trainer = fit(tmp_path, Net(), trace, AtBatch(2, ask_to_stop), val_dataloaders=rows(1), max_epochs=2)
    assert trace.validated == [(0, 2)]
    assert counters(trainer) == (3, 1)


def test_stop_in_an_epoch_without_validation_validates_nothing(tmp_path: Path) -> None:
    trace = Trace()
    arguments = {"max_epochs": 2, "check_val_every_n_epoch": 2}
    fit(tmp_path, Net(), trace, AtBatch(2, ask_to_stop), val_dataloaders=rows(1), **arguments)
    assert trace.validated == []


def test_stop_found_by_validation_ends_the_epoch_there(tmp_path: Path) -> None:
    class Finds(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = not trainer.sanity_checking

    trainer = fit(tmp_path, Net(), Finds(), val_dataloaders=rows(1), val_check_interval=2, max_epochs=3)
    assert counters(trainer) == (2, 1)


@pytest.mark.parametrize(("accumulation", "cleared"), [(1, True), (4, False)])
def test_gradients_survive_validation_within_a_window(accumulation: int, cleared: bool, tmp_path: Path) -> None:
    class Looks(Callback):
        gradients: tuple[bool, ...] = ()

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                self.gradients = (*self.gradients, pl_module.layer.weight.grad is None)

    looks = Looks()
    arguments = {"val_check_interval": 2, "accumulate_grad_batches": accumulation}
    fit(tmp_path, Net(), looks, val_dataloaders=rows(1), **arguments)
    assert looks.gradients == (cleared, True)


def test_validation_leaves_the_weights_trained_on_as_they_were(tmp_path: Path) -> None:
    with_validation, without = Net(), Net()
    fit(tmp_path, with_validation, val_dataloaders=rows(2), val_check_interval=1, accumulate_grad_batches=2)
    fit(tmp_path, without, accumulate_grad_batches=2)
    assert torch.equal(with_validation.weights, without.weights)


# --- order, requests, loggers ---


def test_monitors_hear_the_end_of_an_epoch_after_the_module(tmp_path: Path) -> None:
    order: list[str] = []

    class Told(Net):
        def on_train_epoch_end(self) -> None:
            order.append("module")

    class Monitor(Keeper):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            order.append("monitor")

    class Other(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            order.append("callback")

    fit(tmp_path, Told(), Monitor(), Other(), enable_checkpointing=None)
    assert order == ["callback", "module", "monitor"]


def test_step_values_are_sent_every_n_batches_that_stepped(tmp_path: Path) -> None:
    class Logs(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss)
            return loss

    journal = Journal()
    arguments = {"logger": journal, "log_every_n_steps": 2, "accumulate_grad_batches": 2}
    fit(tmp_path, Logs(), data=rows(8), **arguments)
    assert [step for step, _ in journal.sent] == [1, 3]
    assert all(row["epoch"] == 0 for _, row in journal.sent)


def test_requested_checkpoint_is_written_at_the_end_of_the_step(tmp_path: Path) -> None:
    path = tmp_path / "asked.ckpt"
    fit(tmp_path, Net(), AtBatch(1, lambda trainer: trainer.request_save(path)))
    assert torch.load(path, weights_only=True)["global_step"] == 2


def test_checkpoint_requested_with_the_last_hooks_of_an_epoch_is_written(tmp_path: Path) -> None:
    path = tmp_path / "asked.ckpt"

    class AtEnd(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.request_save(path)

    fit(tmp_path, Net(), AtEnd())
    assert torch.load(path, weights_only=True)["global_step"] == 4
