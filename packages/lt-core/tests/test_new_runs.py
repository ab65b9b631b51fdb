from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Net, fit, rows, trainer_with

from lt_interfaces.callback import Callback


class Looks(Callback):
    def __init__(self) -> None:
        self.counters: list[tuple[int, int]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.counters.append((trainer.global_step, trainer.current_epoch))


def test_second_fit_goes_on_counting(tmp_path: Path) -> None:
    looks = Looks()
    trainer = trainer_with(tmp_path, looks, limit_val_batches=0, max_epochs=2)
    trainer.fit(Net(), rows())
    trainer.fit_loop.max_epochs = 3
    trainer.fit(Net(), rows())
    assert looks.counters == [(0, 0), (4, 1), (8, 2)]
    assert (trainer.global_step, trainer.current_epoch) == (12, 3)


def test_second_fit_without_a_higher_limit_trains_nothing(tmp_path: Path) -> None:
    looks = Looks()
    trainer = trainer_with(tmp_path, looks, limit_val_batches=0)
    trainer.fit(Net(), rows())
    trainer.fit(Net(), rows())
    assert looks.counters == [(0, 0)]
    assert trainer.state.status == "finished"


def test_second_fit_may_have_another_module_and_other_data(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, limit_val_batches=0)
    trainer.fit(Net(), rows(2))
    trainer.fit_loop.max_epochs = 2
    other = Net()
    before = other.weights
    trainer.fit(other, rows(3))
    assert trainer.global_step == 5
    assert trainer.lightning_module is other
    assert not bool((other.weights == before).all())


def test_evaluation_between_two_fits_changes_no_counter(tmp_path: Path) -> None:
    net, plain = Net(), Net()
    trainer = trainer_with(tmp_path, limit_val_batches=0)
    trainer.fit(net, rows())
    trainer.test(net, rows(2), verbose=False)
    assert (trainer.global_step, trainer.current_epoch) == (4, 1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(net, rows())
    fit(tmp_path, plain, max_epochs=2)
    assert bool((net.weights == plain.weights).all())


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [({}, (4, [2])), ({"limit_train_batches": 3, "limit_val_batches": 1}, (3, [1])), ({"fast_dev_run": 2}, (2, [2]))],
)
def test_limits_are_those_of_each_stage(arguments: dict[str, Any], counts: tuple[Any, ...], tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, **arguments)
    trainer.fit(Net(), rows(4), rows(2))
    assert (trainer.num_training_batches, trainer.num_val_batches) == counts
