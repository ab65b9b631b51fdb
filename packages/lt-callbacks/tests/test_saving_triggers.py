from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.saving_triggers import SavingTriggers
from lt_interfaces.errors import MisconfigurationException


def test_nothing_given_means_every_epoch() -> None:
    triggers = SavingTriggers.from_arguments()
    assert triggers.every_n_epochs == 1
    assert not triggers.watches_batches


def test_anything_given_switches_the_others_off() -> None:
    assert SavingTriggers.from_arguments(every_n_train_steps=0) == SavingTriggers(0, 0, None)
    assert SavingTriggers.from_arguments(every_n_train_steps=5).every_n_epochs == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"every_n_train_steps": 1, "every_n_epochs": 1},
        {"every_n_train_steps": 1, "train_time_interval": timedelta(minutes=1)},
        {"every_n_epochs": 1, "train_time_interval": timedelta(minutes=1)},
    ],
)
def test_two_triggers_exclude_each_other(arguments: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match="exclude each other"):
        SavingTriggers.from_arguments(**arguments)


@pytest.mark.parametrize("name", ["every_n_train_steps", "every_n_epochs"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "2"])
def test_a_wrong_count_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(MisconfigurationException, match=f"`{name}` must be a whole number"):
        SavingTriggers.from_arguments(**{name: value})


@pytest.mark.parametrize("value", [timedelta(0), 60, "01:00"])
def test_a_wrong_interval_is_refused_by_name(value: Any) -> None:
    with pytest.raises(MisconfigurationException, match="`train_time_interval` must be a positive"):
        SavingTriggers.from_arguments(train_time_interval=value)


@given(st.integers(1, 10), st.lists(st.integers(0, 4), max_size=40))
def test_every_multiple_that_is_reached_or_passed_is_due_once(every: int, strides: list[int]) -> None:
    triggers, step, due = SavingTriggers(every_n_train_steps=every), 0, 0
    for stride in strides:
        due += triggers.step_is_due(step, step + stride)
        assert triggers.step_is_due(step, step + stride) == any(
            n % every == 0 for n in range(step + 1, step + stride + 1)
        )
        step += stride
    assert due <= step // every


def test_the_epoch_trigger_counts_epochs_from_one() -> None:
    triggers = SavingTriggers(every_n_epochs=2)
    assert [epoch for epoch in range(6) if triggers.epoch_is_due(epoch)] == [1, 3, 5]


def test_time_is_due_when_it_has_passed() -> None:
    triggers = SavingTriggers(train_time_interval=timedelta(seconds=2))
    assert not triggers.time_is_due(1.9)
    assert triggers.time_is_due(2.0)
