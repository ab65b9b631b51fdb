from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from lt_callbacks.evaluation_timing import decides_at_train_epoch_end, validation_may_follow


@dataclass
class Plan:
    enable_validation: bool = True
    num_val_batches: list[int | float] = field(default_factory=lambda: [3])
    val_check_interval: Any = 1.0
    check_val_every_n_epoch: int | None = 1
    current_epoch: int = 0


def test_validation_once_at_the_end_of_each_epoch_decides_at_the_epochs_end() -> None:
    assert decides_at_train_epoch_end(Plan(), None)


@pytest.mark.parametrize("interval", [0.5, 1, 10, "00:01:00:00", timedelta(hours=1), {"hours": 1}])
def test_any_other_interval_decides_after_validation(interval: Any) -> None:
    assert not decides_at_train_epoch_end(Plan(val_check_interval=interval), None)


@pytest.mark.parametrize("every", [None, 2])
def test_validation_in_other_epochs_decides_after_validation(every: int | None) -> None:
    assert not decides_at_train_epoch_end(Plan(check_val_every_n_epoch=every), None)


def test_without_validation_the_epochs_end_decides_whatever_the_interval() -> None:
    assert decides_at_train_epoch_end(Plan(enable_validation=False, check_val_every_n_epoch=2), None)
    assert decides_at_train_epoch_end(Plan(num_val_batches=[0], val_check_interval=0.5), None)


def test_loaders_that_do_not_exist_yet_are_no_missing_validation() -> None:
    assert not decides_at_train_epoch_end(Plan(num_val_batches=[], check_val_every_n_epoch=2), None)


@pytest.mark.parametrize("setting", [True, False])
def test_what_the_user_set_wins(setting: bool) -> None:
    assert decides_at_train_epoch_end(Plan(), setting) is setting


def test_validation_may_follow_in_its_epochs() -> None:
    plans = [Plan(check_val_every_n_epoch=2, current_epoch=epoch) for epoch in range(4)]
    assert [validation_may_follow(plan) for plan in plans] == [False, True, False, True]
    assert validation_may_follow(Plan(check_val_every_n_epoch=None))
    assert not validation_may_follow(Plan(enable_validation=False))
