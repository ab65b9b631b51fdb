from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import Net, fit, rows, trainer_with
from torch.utils.data import DataLoader

from lt_interfaces.callback import Callback
from lt_interfaces.testing.data import RandomIterableDataset


class Asks(Net):
    """Asks for the estimate where schedules are made."""

    estimate: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def configure_optimizers(self) -> Any:
        self.estimate = self.trainer.estimated_stepping_batches
        return super().configure_optimizers()

    def train_dataloader(self) -> Any:
        self.asked += 1
        return rows(3)


class Schedules(Callback):
    """Accumulates over three micro-batches from the second epoch on."""

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        return 3 if epoch else 1

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.set_accumulation(self.get_accumulate_grad_batches(trainer.current_epoch))


def estimate(root: Path, *callbacks: Callback, data: Any = None, **arguments: Any) -> Any:
    net = Asks()
    options = {"limit_val_batches": 0, "max_steps": -1, **arguments}
    trainer = trainer_with(root, *callbacks, **options)
    trainer.fit(net, rows(10) if data is None else data)
    assert trainer.estimated_stepping_batches == net.estimate
    return net.estimate


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 12),
        ({"max_epochs": 2}, 20),
        ({"max_epochs": 3, "max_steps": 7}, 7),
        ({"max_epochs": 3, "max_steps": 100, "limit_train_batches": 1}, 3),
        ({"max_epochs": -1, "max_steps": 5}, 5),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 10),
        ({"max_epochs": 0}, 10),
    ],
)
def test_estimate_counts_optimizer_steps(arguments: dict[str, Any], steps: int, tmp_path: Path) -> None:
    assert estimate(tmp_path, **arguments) == steps


def test_estimate_counts_with_the_schedule_of_a_callback(tmp_path: Path) -> None:
    assert estimate(tmp_path, Schedules(), max_epochs=3) == 10 + 4 + 4
    assert estimate(tmp_path, Schedules(), max_epochs=3, max_steps=12) == 12


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_estimate_is_what_training_takes(batches: int, accumulation: int, epochs: int) -> None:
    net = Asks()
    arguments = {"max_epochs": epochs, "accumulate_grad_batches": accumulation}
    trainer = fit(Path(), net, data=rows(batches), **arguments)
    assert trainer.global_step == net.estimate


def test_estimate_of_data_without_length_is_max_steps_or_endless(tmp_path: Path) -> None:
    loader = DataLoader(RandomIterableDataset(3, 4), batch_size=2)
    assert estimate(tmp_path, data=loader, max_epochs=2) == float("inf")
    assert estimate(tmp_path, data=loader, max_epochs=2, max_steps=3) == 3


def test_estimate_of_endless_training_is_endless(tmp_path: Path) -> None:
    class Stops(Asks):
        def on_train_start(self) -> None:
            self.trainer.should_stop = True

    net = Stops()
    trainer_with(tmp_path, max_epochs=-1, limit_val_batches=0).fit(net, rows())
    assert net.estimate == float("inf")


def test_data_is_asked_for_once_for_estimate_and_training(tmp_path: Path) -> None:
    net = Asks()
    trainer_with(tmp_path, limit_val_batches=0).fit(net)
    assert (net.estimate, net.asked) == (3, 1)


def test_estimate_draws_no_order_that_training_does_not_use(tmp_path: Path) -> None:
    class Plain(Net):
        pass

    weights = []
    for kind in (Asks, Plain):
        torch.manual_seed(0)
        net = kind()
        fit(tmp_path, net, data=rows(shuffle=True))
        weights.append(net.weights)
    assert torch.equal(*weights)


def test_estimate_needs_a_fit(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="`fit`"):
        _ = trainer_with(tmp_path).estimated_stepping_batches
