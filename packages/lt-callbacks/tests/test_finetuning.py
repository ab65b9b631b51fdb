from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from lt_callbacks import BaseFinetuning
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.strategy import Capability

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Later(BaseFinetuning):
    """Trains the last layer at first, the others in the second epoch."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module[:2], train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module[:2], optimizer)


class Thawed(Later):
    """Trains the others without a group of their own."""

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer) -> None:
        if epoch == 1:
            self.make_trainable(pl_module[:2])


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


def begin(run: Any, *, all_parameters: bool = False) -> Any:
    """Do what a run does up to its first epoch; returns it."""
    run.module = net()
    run.tell("setup", "fit")
    chosen = [one for one in run.module.parameters() if one.requires_grad or all_parameters]
    run.optimizers = [SGD(chosen, lr=0.1, momentum=0.9)]
    return run


def train(run: Any, *epochs: int) -> Any:
    for run.current_epoch in epochs:
        run.tell("on_train_epoch_start")
    return run


def trained(run: Any) -> list[str]:
    return [name for name, parameter in run.module.named_parameters() if parameter.requires_grad]


def sizes(run: Any) -> list[tuple[int, float]]:
    return [(len(group["params"]), group["lr"]) for group in run.optimizers[0].param_groups]


def resumed(new_run: NewRun, callback: BaseFinetuning, state: dict[str, Any], **options: Any) -> Any:
    run = begin(new_run(callback), **options)
    callback.load_state_dict(state)
    run.tell("on_fit_start")
    return run


LAST = ["2.weight", "2.bias"]


def test_it_freezes_before_optimizers_are_made_and_unfreezes_in_its_epoch(new_run: NewRun) -> None:
    run = begin(new_run(Later()))
    assert trained(run) == LAST
    run.tell("on_fit_start")
    assert sizes(train(run, 0)) == [(2, 0.1)]
    assert sizes(train(run, 1, 2)) == [(2, 0.1), (4, 0.01)]
    assert len(trained(run)) == 6


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_nothing_is_frozen_where_nothing_is_trained(stage: str, new_run: NewRun) -> None:
    run = new_run(Later())
    run.module = net()
    run.tell("setup", stage)
    assert len(trained(run)) == 6
    assert run.module[1].track_running_stats


def test_a_resumed_run_has_its_groups_trains_them_and_notes_statistics(new_run: NewRun) -> None:
    first, callback = begin(new_run(before := Later())), Later()
    first.tell("on_fit_start")
    train(first, 0, 1)
    second = resumed(new_run, callback, before.state_dict())
    assert sizes(second) == sizes(first)
    assert trained(second) == trained(first)
    assert second.module[1].track_running_stats
    second.optimizers[0].load_state_dict(first.optimizers[0].state_dict())
    assert callback.state_dict() == before.state_dict()


def test_a_run_resumed_from_before_has_only_what_was_trained_then(new_run: NewRun) -> None:
    first = begin(new_run(before := Later()))
    first.tell("on_fit_start")
    second = resumed(new_run, Later(), train(first, 0) and before.state_dict())
    assert sizes(second) == [(2, 0.1)]
    assert trained(second) == LAST
    assert not second.module[1].track_running_stats


def test_parameters_thawed_in_their_old_group_are_trained_after_a_resume(new_run: NewRun) -> None:
    first = begin(new_run(before := Thawed()), all_parameters=True)
    first.tell("on_fit_start")
    assert trained(first) == LAST
    second = resumed(new_run, Thawed(), train(first, 0, 1) and before.state_dict(), all_parameters=True)
    assert len(trained(second)) == 6


def test_a_file_of_lightnings_trains_what_is_in_the_groups_that_were_added(new_run: NewRun) -> None:
    first = begin(new_run(before := Later()))
    first.tell("on_fit_start")
    train(first, 0, 1)
    theirs = {"internal_optimizer_metadata": before.state_dict()["internal_optimizer_metadata"]}
    second = resumed(new_run, Later(), theirs)
    assert sizes(second) == [(2, 0.1), (4, 0.01)]
    assert len(trained(second)) == 6


def test_a_second_fit_goes_on_with_what_the_first_one_trained(new_run: NewRun) -> None:
    callback = Later()
    run = begin(new_run(callback))
    run.tell("on_fit_start")
    module = train(run, 0, 1).module
    run.current_epoch = 2
    run.tell("setup", "fit")
    run.optimizers = [SGD([one for one in module.parameters() if one.requires_grad], lr=0.1)]
    run.tell("on_fit_start")
    assert sizes(run) == [(2, 0.1), (4, 0.01)]
    assert len(trained(run)) == 6


def test_another_run_with_the_same_callback_begins_anew(new_run: NewRun) -> None:
    callback = Later()
    run = begin(new_run(callback))
    run.tell("on_fit_start")
    train(run, 0, 1)
    other = begin(new_run(callback))
    other.tell("on_fit_start")
    assert sizes(other) == [(2, 0.1)]
    assert trained(other) == LAST


def test_a_checkpoint_that_was_evaluated_is_not_what_the_next_fit_goes_on_from(new_run: NewRun) -> None:
    first = begin(new_run(before := Later()))
    first.tell("on_fit_start")
    train(first, 0, 1)
    callback = Later()
    callback.load_state_dict(before.state_dict())
    run = begin(new_run(callback))
    run.tell("on_fit_start")
    assert sizes(run) == [(2, 0.1)]


def test_a_checkpoint_of_another_module_is_refused_by_name(new_run: NewRun) -> None:
    state = {"internal_optimizer_metadata": {0: [{"lr": 0.1, "params": ["encoder.weight"]}]}}
    with pytest.raises(MisconfigurationException, match=r"Later has \['encoder.weight'\]"):
        resumed(new_run, Later(), state)


def test_an_engine_that_takes_the_optimizer_as_it_is_is_refused(new_run: NewRun) -> None:
    run = new_run(Later())
    run.strategy.unsupported = [Capability.SEVERAL_OPTIMIZERS]
    with pytest.raises(NotImplementedError, match="takes the optimizer as it is"):
        begin(run)


@pytest.mark.parametrize(("world_size", "late"), [(1, 1.0), (2, 0.5)])
def test_gradients_of_what_is_unfrozen_later_are_averaged_over_ranks(
    world_size: int, late: float, new_run: NewRun
) -> None:
    run = begin(new_run(Later(), world_size=world_size))
    run.tell("on_fit_start")
    for epoch, expected in ((0, 1.0), (1, late)):
        train(run, epoch)
        for parameter in run.module.parameters():
            parameter.grad = torch.ones_like(parameter)
        run.tell("on_after_backward")
        assert run.module[0].bias.grad.tolist() == [expected] * 2
        assert run.module[2].bias.grad.tolist() == [1.0]  # the strategy does that


def test_what_a_resume_unfreezes_comes_later_than_the_strategy_too(new_run: NewRun) -> None:
    first = begin(new_run(before := Later()))
    first.tell("on_fit_start")
    train(first, 0, 1)
    callback = Later()
    run = begin(new_run(callback, world_size=2))
    callback.load_state_dict(before.state_dict())
    run.tell("on_fit_start")
    for parameter in run.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.tell("on_after_backward")
    assert run.module[0].bias.grad.tolist() == [0.5] * 2


def test_nothing_of_a_run_is_kept_after_it(new_run: NewRun) -> None:
    callback = Later()
    run = begin(new_run(callback, world_size=2))
    run.tell("on_fit_start")
    train(run, 0, 1)
    run.tell("teardown", "fit")
    assert [name for name, value in vars(callback).items() if isinstance(value, list) and value] == ["_trained"]


@pytest.mark.parametrize("method", ["freeze_before_training", "finetune_function"])
def test_what_a_subclass_must_say_is_asked_for(method: str) -> None:
    with pytest.raises(NotImplementedError):
        getattr(BaseFinetuning(), method)(*[None] * (3 if method == "finetune_function" else 1))
