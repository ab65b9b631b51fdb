"""What loggers get, at which x."""

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Journal, ManualNet, Net, fit, rows

from lt_interfaces.callback import Callback


class Logging(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", 1.0, on_step=True, on_epoch=True)
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("vs", 2.0, on_step=True, on_epoch=False)
        self.log("vl", 3.0)


def sent(root: Path, module: Any, *callbacks: Any, **arguments: Any) -> list[tuple[int | None, dict[str, float]]]:
    journal = Journal()
    fit(root, module, *callbacks, logger=journal, **{"log_every_n_steps": 1, **arguments})
    return journal.sent


def test_step_rows_count_batches_from_zero_and_the_epochs_row_shares_the_last(tmp_path: Path) -> None:
    rows_sent = sent(tmp_path, Logging())
    steps = [(x, {"loss_step": 1.0, "epoch": 0}) for x in range(4)]
    assert rows_sent == [*steps, (3, {"loss_epoch": 1.0, "epoch": 0})]


@pytest.mark.parametrize(("every", "expected"), [(2, [1, 3]), (3, [2]), (4, [3]), (0, [])])
def test_steps_are_sent_after_every_nth_batch(tmp_path: Path, every: int, expected: list[int]) -> None:
    rows_sent = sent(tmp_path, Logging(), log_every_n_steps=every)
    assert [x for x, metrics in rows_sent if "loss_step" in metrics] == expected


def test_the_interval_goes_on_across_epochs(tmp_path: Path) -> None:
    rows_sent = sent(tmp_path, Logging(), log_every_n_steps=3, max_epochs=2)
    assert [(x, m["epoch"]) for x, m in rows_sent if "loss_step" in m] == [(2, 0), (5, 1)]


def test_a_stop_sends_the_last_step_whatever_the_interval(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer.should_stop = batch_idx == 1

    rows_sent = sent(tmp_path, Logging(), Stop(), log_every_n_steps=4)
    assert [x for x, metrics in rows_sent if "loss_step" in metrics] == [1]


def test_accumulating_batches_send_nothing(tmp_path: Path) -> None:
    rows_sent = sent(tmp_path, Logging(), log_every_n_steps=1, accumulate_grad_batches=2)
    assert [x for x, metrics in rows_sent if "loss_step" in metrics] == [0, 1]


def test_manual_optimization_counts_batches_not_optimizer_steps(tmp_path: Path) -> None:
    class Manual(ManualNet):
        num_optimizers = 2

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            super().training_step(batch, batch_idx)
            self.log("loss", 1.0)

    rows_sent = sent(tmp_path, Manual())
    assert [x for x, _ in rows_sent] == [0, 1, 2, 3]


def test_validation_batches_have_an_axis_of_their_own_that_goes_on(tmp_path: Path) -> None:
    rows_sent = sent(tmp_path, Logging(), max_epochs=2, val_dataloaders=rows(2), num_sanity_val_steps=1)
    assert [(x, m) for x, m in rows_sent if "vs" in m] == [(x, {"vs": 2.0}) for x in range(4)]


def test_validation_epochs_share_the_axis_of_training(tmp_path: Path) -> None:
    rows_sent = sent(tmp_path, Logging(), max_epochs=2, val_dataloaders=rows(1), val_check_interval=2)
    expected = [(x, {"vl": 3.0, "epoch": epoch}) for x, epoch in ((1, 0), (3, 0), (5, 1), (7, 1))]
    assert [(x, m) for x, m in rows_sent if "vl" in m] == expected


def test_the_sanity_check_sends_nothing(tmp_path: Path) -> None:
    class NoTraining(Logging):
        def on_train_start(self) -> None:
            assert self.trainer.callback_metrics == {}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch)

    rows_sent = sent(tmp_path, NoTraining(), val_dataloaders=rows(1), num_sanity_val_steps=1)
    assert [x for x, metrics in rows_sent if "vs" in metrics] == [0]


def test_each_entry_point_begins_with_no_metrics(tmp_path: Path) -> None:
    module = Logging()
    trainer = fit(tmp_path, module, val_dataloaders=rows(1))
    assert {"loss", "vl"} <= set(trainer.callback_metrics)
    trainer.validate(module, rows(1), verbose=False)
    assert set(trainer.callback_metrics) == {"vl"}


def test_a_metric_called_step_is_one_as_any_other(tmp_path: Path) -> None:
    class Step(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("step", 70.0)
            return self.loss(batch)

    assert sent(tmp_path, Step())[0] == (0, {"step": 70.0, "epoch": 0})


def test_a_metric_called_epoch_replaces_the_count(tmp_path: Path) -> None:
    class Epoch(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("epoch", 0.5)
            return self.loss(batch)

    assert sent(tmp_path, Epoch())[0] == (0, {"epoch": 0.5})


def test_several_loggers_get_the_same(tmp_path: Path) -> None:
    first, second = Journal(), Journal()
    fit(tmp_path, Logging(), logger=[first, second], log_every_n_steps=1)
    assert first.sent == second.sent
    assert len(first.sent) == 5


def test_a_run_shorter_than_the_interval_says_that_no_step_is_logged(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="log_every_n_steps"):
        sent(tmp_path, Logging(), log_every_n_steps=5)


def test_callbacks_are_told_before_a_batch_that_its_values_will_be_sent(tmp_path: Path) -> None:
    class Asks(Callback):
        def __init__(self) -> None:
            self.before: list[int] = []
            self.after: list[int] = []

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.logging_is_due:
                self.before.append(batch_idx)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.logging_is_due:
                self.after.append(batch_idx)

    asks = Asks()
    fit(tmp_path, Net(), asks, log_every_n_steps=2)
    assert asks.before == asks.after == [1, 3]
