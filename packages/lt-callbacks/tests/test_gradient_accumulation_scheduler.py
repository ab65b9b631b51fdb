import warnings
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from lt_callbacks import GradientAccumulationScheduler, LambdaCallback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.strategy import Capability

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def numbers_by_epoch(new_run: NewRun, scheduler: GradientAccumulationScheduler, **facts: Any) -> list[int]:
    numbers: list[int] = []
    look = LambdaCallback(on_train_epoch_end=lambda run, module: numbers.append(run.accumulate_grad_batches))
    new_run(scheduler, look, **facts).fit(epochs=4)
    return numbers


def test_a_number_holds_from_its_epoch_on(new_run: NewRun) -> None:
    assert numbers_by_epoch(new_run, GradientAccumulationScheduler({3: 5, 1: 2})) == [1, 2, 2, 5]


def test_the_first_epochs_number_may_be_given(new_run: NewRun) -> None:
    assert numbers_by_epoch(new_run, GradientAccumulationScheduler({0: 3, 2: 1})) == [3, 3, 1, 1]


def test_the_users_dict_stays_as_it_is() -> None:
    given = {4: 2}
    scheduler = GradientAccumulationScheduler(given)
    assert given == {4: 2}
    assert (scheduler.scheduling, scheduler.epochs) == ({0: 1, 4: 2}, [0, 4])


def test_it_knows_whether_it_accumulates_at_all() -> None:
    assert GradientAccumulationScheduler({4: 2}).going_to_accumulate_grad_batches()
    assert not GradientAccumulationScheduler({4: 1}).going_to_accumulate_grad_batches()


def test_an_epoch_that_is_taken_up_in_its_middle_has_its_number(new_run: NewRun) -> None:
    run = new_run(GradientAccumulationScheduler({1: 2}), current_epoch=1)
    run.tell("on_train_start")
    assert run.accumulate_grad_batches == 2


@pytest.mark.parametrize("scheduling", [{}, [], None, [4]])
def test_an_empty_schedule_is_refused(scheduling: Any) -> None:
    with pytest.raises(TypeError, match="`scheduling` must be a dict with at least one entry"):
        GradientAccumulationScheduler(scheduling)


@pytest.mark.parametrize("epoch", [-1, 0.5, "1", True])
def test_another_epoch_is_refused(epoch: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`scheduling` must have epochs as keys.*not"):
        GradientAccumulationScheduler({epoch: 2})


@pytest.mark.parametrize("micro_batches", [0, -1, 1.5, "2", True])
def test_another_number_of_micro_batches_is_refused(micro_batches: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`scheduling` must have numbers of micro-batches.*epoch 3"):
        GradientAccumulationScheduler({3: micro_batches})


def test_manual_optimization_is_refused(new_run: NewRun) -> None:
    run = new_run(GradientAccumulationScheduler({1: 2}))
    run.module.automatic_optimization = False
    with pytest.raises(RuntimeError, match="automatic_optimization"):
        run.tell("on_train_start")


def test_a_strategy_that_cannot_change_the_number_is_refused(new_run: NewRun) -> None:
    run = new_run(GradientAccumulationScheduler({1: 2}))
    run.strategy.unsupported = [Capability.CHANGING_ACCUMULATION]
    with pytest.raises(RuntimeError, match="StandInStrategy can't change the number of micro-batches"):
        run.tell("setup", "fit")
    run.tell("setup", "test")


def test_a_number_of_the_trainers_own_is_refused(new_run: NewRun) -> None:
    with pytest.raises(ValueError, match=r"`Trainer\(accumulate_grad_batches=3\)`"):
        new_run(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=3).tell("on_train_start")


def test_a_second_fit_finds_its_own_number_and_goes_on(new_run: NewRun) -> None:
    run = new_run(GradientAccumulationScheduler({1: 2})).fit(epochs=2)
    assert run.accumulate_grad_batches == 2
    run.fit(epochs=3)
    assert run.accumulate_grad_batches == 2


class OwnStep(nn.Linear):
    """Steps its optimizer in its own way."""

    automatic_optimization = True

    def optimizer_step(self, *args: Any) -> None:
        """Do nothing."""


def test_a_step_of_the_modules_own_is_worth_a_warning(new_run: NewRun) -> None:
    run = new_run(GradientAccumulationScheduler({1: 2}))
    run.module = OwnStep(2, 1)
    with pytest.warns(UserWarning, match=r"`OwnStep.optimizer_step` is called once per optimizer step"):
        run.tell("on_train_start")
    run.callbacks = [GradientAccumulationScheduler({1: 1})]
    run.accumulate_grad_batches = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.tell("on_train_start")
